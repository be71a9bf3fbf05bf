// Servers as people write them in Go with net/http, and a client that prints Go's own words, for the doctor's tests.
//
//	serve CERT KEY [-ca FILE] [-auth require|request] [-min 1.2] [-max 1.3] [-alpn h2,http/1.1] [-hub] [-cacrt FILE] [-suites rsa]
//	dial ADDRESS NAME CA [CERT KEY]
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
)

var versions = map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func pool(file string) *x509.CertPool {
	text, err := os.ReadFile(file)
	check(err)
	found := x509.NewCertPool()
	found.AppendCertsFromPEM(text)
	return found
}

// hub answers a WebSocket upgrade of an unknown version as gorilla/websocket does, which a KubeEdge cloud uses.
func hub(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Sec-Websocket-Version") != "13" {
		w.Header().Set("Sec-Websocket-Version", "13")
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	http.Error(w, "a session was opened", http.StatusTeapot)
}

func serve(arguments []string) {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	ca := flags.String("ca", "", "")
	auth := flags.String("auth", "", "")
	low := flags.String("min", "1.2", "")
	high := flags.String("max", "1.3", "")
	alpn := flags.String("alpn", "", "")
	asHub := flags.Bool("hub", false, "")
	cacrt := flags.String("cacrt", "", "")
	plain := flags.Bool("plain", false, "")
	check(flags.Parse(arguments[2:]))
	pair, err := tls.LoadX509KeyPair(arguments[0], arguments[1])
	check(err)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: versions[*low], MaxVersion: versions[*high]}
	if *ca != "" {
		config.ClientCAs = pool(*ca)
		config.ClientAuth = tls.RequireAndVerifyClientCert
		if *auth == "request" {
			config.ClientAuth = tls.RequestClientCert
		}
	}
	mux := http.NewServeMux()
	if *asHub {
		mux.HandleFunc("/", hub)
	}
	if *cacrt != "" {
		der, err := os.ReadFile(*cacrt)
		check(err)
		mux.HandleFunc("/ca.crt", func(w http.ResponseWriter, _ *http.Request) { w.Write(der) })
	}
	server := &http.Server{Handler: mux, TLSConfig: config, ErrorLog: log.New(os.Stdout, "log: ", 0)}
	if *alpn != "" {
		config.NextProtos = strings.Split(*alpn, ",")
	} else {
		server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println("listening on", listener.Addr().(*net.TCPAddr).Port)
	if *plain {
		check(server.Serve(listener))
	}
	if *alpn == "h2" { // ServeTLS would add http/1.1
		check(server.Serve(tls.NewListener(listener, config.Clone())))
	}
	check(server.ServeTLS(listener, "", ""))
}

func dial(arguments []string) {
	config := &tls.Config{RootCAs: pool(arguments[2]), ServerName: arguments[1]}
	if len(arguments) > 3 {
		pair, err := tls.LoadX509KeyPair(arguments[3], arguments[4])
		check(err)
		config.Certificates = []tls.Certificate{pair}
	}
	connection, err := tls.Dial("tcp", arguments[0], config)
	check(err)
	defer connection.Close()
	_, err = fmt.Fprintf(connection, "GET / HTTP/1.0\r\n\r\n")
	check(err)
	_, err = connection.Read(make([]byte, 16))
	check(err)
	fmt.Println("connected")
}

func main() {
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2:])
	case "dial":
		dial(os.Args[2:])
	}
}
