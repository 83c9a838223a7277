// Command echo is the application in every pod of the live test: a server that says what it saw, and a client that is told by the test what to
// ask for and says what came back.
//
//	:8080  (and :8081, :8082) HTTP/1.1 and HTTP/2 in clear text; answers with the request as JSON (status=, delay=, flaky=, fails= in the query
//	       change that); an upgrade to "websocket" becomes an echo of bytes; what is posted to a collector of spans is kept;
//	       /plugin.wasm is a module with nothing in it
//	:8443  the same by TLS with a certificate of its own, made at the start
//	:9090  gRPC: one service, unary and streaming
//	:9000  TCP: sends back each line with its name before it
//	:9001  TCP: speaks first
//	:7000  POST a list of calls, get the list of outcomes; GET /spans that were posted, and /first, the outcome of asking for the URL in FIRST
//	       as the first thing of all; not for the mesh
//
// With the argument "pause" it does nothing: the container that a pod's network belongs to.
package main

import (
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

// Who this is: the value of NAME, else the host's name.
var name = os.Getenv("NAME")

func main() {
	if len(os.Args) > 1 && os.Args[1] == "pause" {
		wait := make(chan os.Signal, 1)
		signal.Notify(wait, syscall.SIGTERM, os.Interrupt)
		<-wait
		return
	}
	if name == "" {
		name, _ = os.Hostname()
	}
	var first Seen
	if url := os.Getenv("FIRST"); url != "" {
		first = Call{Kind: "http1", URL: url}.run()
	}
	for _, address := range []string{":8080", ":8081", ":8082"} {
		go serveHTTP(address)
	}
	go serveTLS()
	go serveGRPC()
	go serveTCP(":9000", lines)
	go serveTCP(":9001", banner)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		var calls []Call
		if err := json.NewDecoder(r.Body).Decode(&calls); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		seen := []Seen{}
		for _, call := range calls {
			for range max(1, call.Count) {
				seen = append(seen, call.run())
			}
		}
		json.NewEncoder(w).Encode(seen)
	})
	mux.HandleFunc("GET /spans", collected)
	mux.HandleFunc("GET /first", func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(first) })
	log.Fatal(http.ListenAndServe(":7000", mux))
}

func serveTCP(address string, serve func(net.Conn)) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(conn)
	}
}
