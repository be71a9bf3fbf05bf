// fleet plays edge nodes for as long as it is told to: each enrols with a key of its own, connects over mutual TLS, sends keepalives, and dials
// again after a backoff when its connection is lost. It obeys words on its standard input and says once a second, as JSON, how the nodes are.
//
//	enrol     every node gets its certificate; says {"did":"enrol"} at the end
//	connect   every node connects, and stays connected from now on
//	mark      latencies and failures are counted from zero
//	quit      the end
package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	mrand "math/rand"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

var (
	https   = flag.String("https", "https://127.0.0.1:10002", "")
	ws      = flag.String("ws", "127.0.0.1:10000", "")
	tokf    = flag.String("token", "", "file with a token for every name")
	n       = flag.Int("n", 1000, "nodes")
	prefix  = flag.String("prefix", "fleet-", "node names begin with this")
	from    = flag.Int("from", 1, "this client's addresses are 127.A.B.1 and following, with A.B this number: one address has 28,000 ports")
	perAddr = flag.Int("per-address", 1000, "nodes behind one address")
	c       = flag.Int("c", 16, "enrolments and first dials at a time; after a loss every node dials for itself")
	beat    = flag.Duration("beat", 15*time.Second, "keepalive interval of a node")
	backoff = flag.String("backoff", "agent", "agent: 1 to 30 s, doubling, each shortened by up to half; kubeedge: 30 s each time")
	probes  = flag.Int("probes", 10, "pings a second that are timed, all nodes together")
)

const (
	project = "e632aba927ea4ac2b575ec1603d56f10"
	patient = 30 * time.Second // KubeEdge's own limit for a handshake
)

type node struct {
	name string
	cert tls.Certificate
	from net.IP
	conn atomic.Pointer[websocket.Conn]
	busy sync.Mutex // a connection has one writer
}

type ping struct {
	at time.Time
	on *websocket.Conn
	of *node
}

type numbers struct {
	sync.Mutex
	Failed map[string]int // dials and writes that failed, by what went wrong
	dials  []float64      // ms, from dialling to the upgrade
	pings  []float64      // ms
}

var (
	nodes                                  []*node
	online, lost, beats, dialled, enrolled int64
	said                                   numbers
	asked                                  sync.Map // id of a ping -> ping
	out                                    = json.NewEncoder(os.Stdout)
	outLock                                sync.Mutex
)

func say(facts map[string]any) {
	outLock.Lock()
	defer outLock.Unlock()
	if out.Encode(facts) != nil {
		os.Exit(1) // whoever listened is gone
	}
}

func frame(id, operation string) []byte {
	return []byte(fmt.Sprintf(`{"header":{"msg_id":"%s","timestamp":%d},"route":{"source":"websocket","group":"resource","operation":"%s","resource":"node"},"content":"ping"}`, id, time.Now().UnixMilli(), operation))
}

func why(what string, err error, answer *http.Response) string {
	var timeout net.Error
	switch {
	case answer != nil:
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 200))
		return fmt.Sprintf("%s: %d %s", what, answer.StatusCode, strings.TrimSpace(string(text)))
	case errors.Is(err, syscall.ECONNREFUSED):
		return what + ": connection refused"
	case errors.Is(err, syscall.ECONNRESET):
		return what + ": connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return what + ": closed"
	case errors.As(err, &timeout) && timeout.Timeout():
		return what + ": timeout"
	}
	return what + ": " + err.Error()
}

func failed(kind string) {
	said.Lock()
	said.Failed[kind]++
	said.Unlock()
}

func enrol(hc *http.Client, token string, x *node) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{Organization: []string{"system:nodes"}, CommonName: "system:node:" + x.name}}, key)
	if err != nil {
		return err
	}
	r, _ := http.NewRequest("GET", *https+"/edge.crt", bytes.NewReader(csr))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("NodeName", x.name)
	answer, err := hc.Do(r)
	if err != nil {
		return errors.New(why("enrol", err, nil))
	}
	defer answer.Body.Close()
	if answer.StatusCode != 200 {
		return errors.New(why("enrol", nil, answer))
	}
	der, err := io.ReadAll(answer.Body)
	x.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return err
}

func (x *node) dial() bool {
	d := websocket.Dialer{
		TLSClientConfig:  &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{x.cert}},
		HandshakeTimeout: patient,
		ReadBufferSize:   256,
		WriteBufferSize:  512,
		NetDialContext:   (&net.Dialer{LocalAddr: &net.TCPAddr{IP: x.from}, Control: late}).DialContext,
	}
	h := http.Header{"Node_id": {x.name}, "Project_id": {project}, "Connectionuse": {"msg"}}
	began := time.Now()
	cn, answer, err := d.Dial(fmt.Sprintf("wss://%s/%s/%s/events", *ws, project, x.name), h)
	if err != nil {
		failed(why("dial", err, answer))
		return false
	}
	atomic.AddInt64(&dialled, 1)
	said.Lock()
	said.dials = append(said.dials, time.Since(began).Seconds()*1000)
	said.Unlock()
	x.conn.Store(cn)
	atomic.AddInt64(&online, 1)
	x.write(cn, frame("first", "keepalive"))
	return true
}

// late: the kernel chooses the local port when it knows the destination, so that one address has all its ports for each.
func late(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_IP, 24, 1) // IP_BIND_ADDRESS_NO_PORT
	})
}

func (x *node) write(cn *websocket.Conn, octets []byte) bool {
	x.busy.Lock()
	defer x.busy.Unlock()
	cn.SetWriteDeadline(time.Now().Add(15 * time.Second))
	return cn.WriteMessage(websocket.TextMessage, octets) == nil
}

// read until the connection ends.
func (x *node) read() {
	cn := x.conn.Load()
	for {
		_, octets, err := cn.ReadMessage()
		if err != nil {
			break
		}
		var m struct {
			Header struct {
				Parent string `json:"parent_msg_id"`
			} `json:"header"`
		}
		if json.Unmarshal(octets, &m) == nil {
			if one, ok := asked.LoadAndDelete(m.Header.Parent); ok {
				said.Lock()
				said.pings = append(said.pings, time.Since(one.(ping).at).Seconds()*1000)
				said.Unlock()
			}
		}
	}
	x.conn.Store(nil)
	cn.Close()
	atomic.AddInt64(&online, -1)
	atomic.AddInt64(&lost, 1)
}

func pause(failures int) time.Duration {
	if *backoff == "kubeedge" {
		return 30 * time.Second
	}
	longest := 30.0
	if failures < 5 {
		longest = float64(int(1) << uint(failures))
	}
	return time.Duration(longest * (0.5 + mrand.Float64()/2) * float64(time.Second))
}

// live from the first dial on.
func (x *node) live(places chan struct{}) {
	failures := 0
	for {
		if places != nil {
			places <- struct{}{}
		}
		good := x.dial()
		if places != nil {
			<-places
			if good {
				places = nil
			}
		}
		if good {
			failures = 0
			x.read()
		}
		time.Sleep(pause(failures))
		failures++
	}
}

func beating(first, step int) {
	gap := time.Duration(float64(*beat) / float64(len(nodes)) * float64(step))
	next := time.Now()
	for i := first; ; i = (i + step) % len(nodes) {
		time.Sleep(time.Until(next))
		next = next.Add(gap)
		if cn := nodes[i].conn.Load(); cn != nil {
			if nodes[i].write(cn, frame(fmt.Sprint(i), "keepalive")) {
				atomic.AddInt64(&beats, 1)
			} else {
				failed("keepalive: not sent")
			}
		}
	}
}

func probing() {
	for i := 0; *probes > 0; i++ {
		time.Sleep(time.Second / time.Duration(*probes))
		x := nodes[mrand.Intn(len(nodes))]
		if cn := x.conn.Load(); cn != nil {
			id := fmt.Sprintf("%sping-%d", *prefix, i)
			asked.Store(id, ping{time.Now(), cn, x})
			x.write(cn, frame(id, "ping"))
		}
	}
}

func quantiles(v []float64) []float64 {
	if len(v) == 0 {
		return nil
	}
	sort.Float64s(v)
	at := func(q float64) float64 { return v[int(q*float64(len(v)-1))] }
	return []float64{at(.5), at(.99), at(1)}
}

func ticking() {
	for range time.Tick(time.Second) {
		now, unanswered := time.Now(), 0
		asked.Range(func(id, one any) bool {
			p := one.(ping)
			switch {
			case p.of.conn.Load() != p.on: // the connection is gone, and that is counted
				asked.Delete(id)
			case now.Sub(p.at) > patient:
				asked.Delete(id)
				failed("ping: no answer")
			default:
				unanswered++
			}
			return true
		})
		said.Lock()
		facts := map[string]any{
			"online": atomic.LoadInt64(&online), "lost": atomic.LoadInt64(&lost), "beats": atomic.LoadInt64(&beats), "enrolled": atomic.LoadInt64(&enrolled),
			"dialled": atomic.LoadInt64(&dialled), "failed": said.Failed, "dials": quantiles(said.dials), "pings": quantiles(said.pings), "unanswered": unanswered,
		}
		say(facts)
		said.Unlock()
	}
}

func each(do func(x *node) error) {
	places := make(chan struct{}, *c)
	var all sync.WaitGroup
	for _, x := range nodes {
		places <- struct{}{}
		all.Add(1)
		go func(x *node) {
			if err := do(x); err != nil {
				failed(err.Error())
			}
			<-places
			all.Done()
		}(x)
	}
	all.Wait()
}

func main() {
	flag.Parse()
	said.Failed = map[string]int{}
	text, err := os.ReadFile(*tokf)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(65)
	}
	_, token, _ := strings.Cut(strings.TrimSpace(string(text)), ".")
	for i := 0; i < *n; i++ {
		place := *from<<8 + i / *perAddr + 1
		nodes = append(nodes, &node{name: fmt.Sprintf("%s%d", *prefix, i), from: net.IPv4(127, byte(place>>16), byte(place>>8), byte(place))})
	}
	go ticking()
	words := bufio.NewScanner(os.Stdin)
	for words.Scan() {
		switch words.Text() {
		case "enrol":
			go func() {
				hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: *c}, Timeout: time.Minute}
				each(func(x *node) error {
					err := enrol(hc, token, x)
					for try := 0; err != nil && try < 5; try++ { // as a device would; the first reason is kept
						failed(err.Error())
						time.Sleep(time.Second)
						err = enrol(hc, token, x)
					}
					if err == nil {
						atomic.AddInt64(&enrolled, 1)
					}
					return err
				})
				hc.CloseIdleConnections()
				say(map[string]any{"did": "enrol"})
			}()
		case "connect":
			places := make(chan struct{}, *c)
			for _, x := range nodes {
				go x.live(places)
			}
			for i := 0; i < 8; i++ {
				go beating(i%len(nodes), 8)
			}
			go probing()
		case "mark":
			said.Lock()
			said.Failed, said.dials, said.pings = map[string]int{}, nil, nil
			said.Unlock()
		case "quit":
			return
		}
	}
}
