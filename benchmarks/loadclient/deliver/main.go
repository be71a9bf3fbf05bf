// deliver plays many edge nodes that acknowledge messages, and the programs that send them; it checks that none is lost and that each node's
// order holds, and prints latencies. Nodes may drop off and return, and the server may be killed: both sides go on by themselves.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	mrand "math/rand"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

var (
	https   = flag.String("https", "https://127.0.0.1:10002", "")
	ws      = flag.String("ws", "127.0.0.1:10000", "")
	socket  = flag.String("socket", "", "the administrative socket")
	tokf    = flag.String("token", "", "file with a token for every name")
	n       = flag.Int("n", 1000, "nodes")
	c       = flag.Int("c", 16, "dials at a time")
	rate    = flag.Float64("rate", 100, "messages a second, to all nodes together")
	length  = flag.Duration("d", 10*time.Second, "for how long messages are sent")
	idle    = flag.Duration("idle", 5*time.Second, "keepalives alone before that")
	senders = flag.Int("senders", 32, "connections that send")
	size    = flag.Int("size", 256, "octets of content")
	beat    = flag.Duration("beat", 15*time.Second, "keepalive interval per node")
	churn   = flag.Float64("churn", 0, "percent of the nodes that are away, on average, for 5 to 15 s each")
	drain   = flag.Duration("drain", 3*time.Minute, "for how long the last messages are waited for")
	prefix  = flag.String("prefix", fmt.Sprintf("d%x-", time.Now().UnixNano()&0xffffff), "node names begin with this")
)

const project = "e632aba927ea4ac2b575ec1603d56f10"

type node struct {
	name     string
	cert     tls.Certificate
	conn     atomic.Pointer[websocket.Conn]
	write    sync.Mutex
	accepted int64 // the last message that the server took
	seen     int64 // the last message that came
	away     atomic.Bool
}

var (
	nodes                                                       []*node
	delivered, duplicates, gaps, backs, acks, refusals, retries int64
	reconnects, taken, beats, cut                               int64
	latencies, answers                                          = make(chan float64, 1<<16), make(chan float64, 1<<16)
	stop                                                        atomic.Bool
	dialling                                                    chan struct{}
	sentAt                                                      sync.Map // msg_id -> time
)

type message struct {
	Header struct {
		MsgID string `json:"msg_id"`
	} `json:"header"`
	Route   json.RawMessage `json:"route"`
	Content struct {
		Seq int64 `json:"seq"`
	} `json:"content"`
}

func (x *node) read(cn *websocket.Conn) {
	defer func() {
		x.conn.CompareAndSwap(cn, nil)
		cn.Close()
		if !stop.Load() && !x.away.Load() {
			atomic.AddInt64(&cut, 1)
			go x.connect()
		}
	}()
	for {
		_, b, err := cn.ReadMessage()
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(b, &m) != nil || m.Content.Seq == 0 {
			continue
		}
		seen := atomic.LoadInt64(&x.seen)
		switch {
		case m.Content.Seq == seen+1:
			atomic.StoreInt64(&x.seen, m.Content.Seq)
			atomic.AddInt64(&delivered, 1)
			if t, ok := sentAt.LoadAndDelete(m.Header.MsgID); ok {
				latencies <- time.Since(t.(time.Time)).Seconds() * 1000
			}
		case m.Content.Seq > seen+1:
			atomic.AddInt64(&gaps, 1)
			atomic.StoreInt64(&x.seen, m.Content.Seq)
		case m.Content.Seq == seen:
			atomic.AddInt64(&duplicates, 1)
		default:
			atomic.AddInt64(&backs, 1)
		}
		ack := fmt.Sprintf(`{"header":{"msg_id":"a%d","parent_msg_id":"%s","timestamp":%d},"route":{"source":"edgecontroller","group":"resource","operation":"response","resource":"default/configmap/x"},"content":"OK"}`, m.Content.Seq, m.Header.MsgID, time.Now().UnixMilli())
		if x.say(cn, ack) == nil {
			atomic.AddInt64(&acks, 1)
		}
	}
}

func (x *node) say(cn *websocket.Conn, text string) error {
	x.write.Lock()
	defer x.write.Unlock()
	return cn.WriteMessage(websocket.TextMessage, []byte(text))
}

func keepalive() string {
	return fmt.Sprintf(`{"header":{"msg_id":"k","timestamp":%d},"route":{"source":"websocket","group":"resource","operation":"keepalive","resource":"node"},"content":"ping"}`, time.Now().UnixMilli())
}

func (x *node) connect() {
	for !stop.Load() {
		dialling <- struct{}{}
		d := websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{x.cert}}, HandshakeTimeout: 30 * time.Second, ReadBufferSize: 1024, WriteBufferSize: 512}
		cn, _, err := d.Dial(fmt.Sprintf("wss://%s/%s/%s/events", *ws, project, x.name), http.Header{"Node_id": {x.name}, "Project_id": {project}, "Connectionuse": {"msg"}})
		<-dialling
		if err == nil && x.say(cn, keepalive()) == nil {
			x.conn.Store(cn)
			atomic.AddInt64(&reconnects, 1)
			go x.read(cn)
			return
		}
		time.Sleep(time.Duration(500+mrand.Intn(2000)) * time.Millisecond)
	}
}

func client() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", *socket)
	}}}
}

// send puts the next message of a node until the server takes it: with the same id, so that a repetition is the same message.
func send(hc *http.Client, x *node, body []byte, id string) bool {
	began := time.Now()
	sentAt.Store(id, began)
	for {
		res, err := hc.Post("http://localhost/v1/messages", "application/json", bytes.NewReader(body))
		if err == nil {
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode == 202 || res.StatusCode == 200 {
				answers <- time.Since(began).Seconds() * 1000
				return true
			}
			if res.StatusCode == 429 {
				atomic.AddInt64(&refusals, 1)
				sentAt.Delete(id)
				return false
			}
		}
		atomic.AddInt64(&retries, 1)
		time.Sleep(200 * time.Millisecond)
	}
}

func enrol(hc *http.Client, tok, name string) (tls.Certificate, error) {
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	b, _ := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{Organization: []string{"system:nodes"}, CommonName: "system:node:" + name}}, k)
	r, _ := http.NewRequest("GET", *https+"/edge.crt", bytes.NewReader(b))
	r.Header.Set("Authorization", "Bearer "+tok)
	r.Header.Set("NodeName", name)
	res, err := hc.Do(r)
	if err != nil {
		return tls.Certificate{}, err
	}
	defer res.Body.Close()
	d, _ := io.ReadAll(res.Body)
	if res.StatusCode != 200 {
		return tls.Certificate{}, fmt.Errorf("%d %s", res.StatusCode, d)
	}
	return tls.Certificate{Certificate: [][]byte{d}, PrivateKey: k}, nil
}

func collect(in chan float64, out *[]float64) {
	for v := range in {
		*out = append(*out, v)
	}
}

func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	return v[int(float64(len(v)-1)*q)]
}

func main() {
	flag.Parse()
	dialling = make(chan struct{}, *c)
	tb, err := os.ReadFile(*tokf)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
	tok := strings.SplitN(strings.TrimSpace(string(tb)), ".", 2)[1]
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: *c}, Timeout: 60 * time.Second}
	nodes = make([]*node, *n)
	early := make([]atomic.Pointer[node], *n) // those that are there: they keep alive while others still enrol
	go func() {                               // one keepalive per node and interval
		gap := time.Duration(float64(*beat) / float64(*n))
		at := time.Now()
		for i := 0; !stop.Load(); i++ {
			if s := time.Until(at); s > 0 {
				time.Sleep(s)
			}
			at = at.Add(gap)
			x := early[i%*n].Load()
			if x == nil {
				continue
			}
			if cn := x.conn.Load(); cn != nil && x.say(cn, keepalive()) == nil {
				atomic.AddInt64(&beats, 1)
			}
		}
	}()
	var next int64 = -1
	var wg sync.WaitGroup
	for w := 0; w < *c; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := int(atomic.AddInt64(&next, 1))
				if i >= *n {
					return
				}
				x := &node{name: *prefix + strconv.Itoa(i)}
				if x.cert, err = enrol(hc, tok, x.name); err != nil {
					fmt.Fprintln(os.Stderr, "error: enrolment:", err)
					os.Exit(1)
				}
				x.connect()
				nodes[i] = x
				early[i].Store(x)
			}
		}()
	}
	wg.Wait()
	fmt.Printf("connected nodes=%d\n", *n)
	var lat, ans []float64
	go collect(latencies, &lat)
	go collect(answers, &ans)
	time.Sleep(*idle)
	fmt.Printf("begin\n")
	var churning atomic.Bool
	churning.Store(true)
	if *churn > 0 {
		go func() {
			each := time.Duration(10 * float64(time.Second) / (float64(*n) * *churn / 100))
			for churning.Load() {
				time.Sleep(each)
				x := nodes[mrand.Intn(*n)]
				if cn := x.conn.Load(); cn != nil && x.away.CompareAndSwap(false, true) {
					cn.Close()
					go func() {
						time.Sleep(time.Duration(5000+mrand.Intn(10000)) * time.Millisecond)
						x.away.Store(false)
						x.connect()
					}()
				}
			}
		}()
	}
	due := make(chan struct{}, 100000)
	go func() {
		at, end := time.Now(), time.Now().Add(*length)
		for at.Before(end) {
			if s := time.Until(at); s > 0 {
				time.Sleep(s)
			}
			at = at.Add(time.Duration(float64(time.Second) / *rate))
			due <- struct{}{}
		}
		close(due)
	}()
	padding := strings.Repeat("x", *size)
	for s := 0; s < *senders; s++ {
		wg.Add(1)
		go func(s int) {
			defer wg.Done()
			admin := client()
			for range due {
				x := nodes[mrand.Intn((*n-s-1) / *senders + 1)**senders+s] // each sender has nodes of its own, so that each node's order is known
				seq := x.accepted + 1
				id := fmt.Sprintf("%s-%d", x.name, seq)
				body := fmt.Sprintf(`{"node":"%s","operation":"update","resource":"default/configmap/x","msg_id":"%s","content":{"seq":%d,"padding":"%s"}}`, x.name, id, seq, padding)
				if send(admin, x, []byte(body), id) {
					x.accepted = seq
					atomic.AddInt64(&taken, 1)
				}
			}
		}(s)
	}
	began := time.Now()
	wg.Wait()
	took := time.Since(began)
	fmt.Printf("sent messages=%d in=%.1fs\n", taken, took.Seconds())
	churning.Store(false)
	waiting := func() (left int64) {
		for _, x := range nodes {
			left += x.accepted - atomic.LoadInt64(&x.seen)
		}
		return
	}
	for end := time.Now().Add(*drain); waiting() > 0 && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(time.Second)
	stop.Store(true)
	lost := waiting()
	sort.Float64s(lat)
	sort.Float64s(ans)
	fmt.Printf("done taken=%d delivered=%d lost=%d order_violations=%d duplicates=%d queue_full=%d sender_retries=%d connections_cut=%d reconnections=%d rate=%.0f/s answer_p50=%.1fms answer_p99=%.1fms delivery_p50=%.1fms delivery_p99=%.1fms delivery_max=%.1fms\n",
		taken, delivered, lost, gaps+backs, duplicates, refusals, retries, cut, reconnects-int64(*n), float64(taken)/took.Seconds(), quantile(ans, .5), quantile(ans, .99), quantile(lat, .5), quantile(lat, .99), quantile(lat, 1))
	if lost != 0 || gaps+backs != 0 {
		os.Exit(1)
	}
}
