// A server and a client of mutual TLS as people write them in Go, for the tests: the files come from outside.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
)

func pool(file string) *x509.CertPool {
	text, err := os.ReadFile(file)
	check(err)
	found := x509.NewCertPool()
	if !found.AppendCertsFromPEM(text) {
		check(fmt.Errorf("no certificate in %s", file))
	}
	return found
}

func pair(certificate, key string) []tls.Certificate {
	if certificate == "" {
		return nil
	}
	loaded, err := tls.LoadX509KeyPair(certificate, key)
	check(err)
	return []tls.Certificate{loaded}
}

// serve: every client must show a certificate of the pool; it is greeted by its common name.
func serve(ca, certificate, key string) {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: pair(certificate, key),
		ClientCAs:    pool(ca),
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   tls.VersionTLS12,
	})
	check(err)
	fmt.Println("listening on", listener.Addr().(*net.TCPAddr).Port)
	for {
		connection, err := listener.Accept()
		check(err)
		client := connection.(*tls.Conn)
		if err := client.Handshake(); err != nil {
			fmt.Println("refused:", err)
		} else {
			fmt.Fprintf(client, "hello %s\n", client.ConnectionState().PeerCertificates[0].Subject.CommonName)
		}
		client.Close()
	}
}

// dial: the server must be of the pool and have the name that is dialled.
func dial(address, ca, certificate, key string) {
	connection, err := tls.Dial("tcp", address, &tls.Config{Certificates: pair(certificate, key), RootCAs: pool(ca)})
	check(err)
	defer connection.Close()
	said, err := io.ReadAll(connection)
	check(err)
	fmt.Print(string(said))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	switch arguments := os.Args[2:]; os.Args[1] {
	case "serve":
		serve(arguments[0], arguments[1], arguments[2])
	case "dial":
		dial(arguments[0], arguments[1], arguments[2], arguments[3])
	}
}
