package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Request is what a server saw of one.
type Request struct {
	Name    string              `json:"name"`
	Method  string              `json:"method"`
	Target  string              `json:"target"`
	Proto   string              `json:"proto"`
	Host    string              `json:"host"`
	Headers map[string][]string `json:"headers"`
	Body    string              `json:"body,omitempty"`
	// How many requests of the same x-case came here before this one.
	Before int `json:"before"`
}

var (
	countsLock sync.Mutex
	counts     = map[string]int{}
)

// The number of requests of that name so far, which this one adds to.
func before(of string) int {
	countsLock.Lock()
	defer countsLock.Unlock()
	counts[of]++
	return counts[of] - 1
}

func answer(w http.ResponseWriter, r *http.Request) {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		tunnel(w)
		return
	}
	body, _ := io.ReadAll(r.Body)
	if r.Method == http.MethodPost && (r.URL.Path == "/api/v2/spans" || r.URL.Path == "/v1/traces") {
		collect(r.URL.Path, body)
		return
	}
	if r.URL.Path == "/plugin.wasm" {
		w.Write([]byte("\x00asm\x01\x00\x00\x00"))
		return
	}
	query := r.URL.Query()
	if wait, err := time.ParseDuration(query.Get("delay")); err == nil {
		time.Sleep(wait)
	}
	seen := Request{name, r.Method, r.RequestURI, r.Proto, r.Host, r.Header, string(body), 0}
	if of := r.Header.Get("X-Case"); of != "" {
		seen.Before = before(of)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Name", name)
	code := http.StatusOK
	if asked, err := strconv.Atoi(query.Get("status")); err == nil {
		code = asked
	}
	// flaky=N: all but each Nth request of a case is refused.
	if each, err := strconv.Atoi(query.Get("flaky")); err == nil && (seen.Before+1)%each != 0 {
		code = http.StatusServiceUnavailable
	}
	// fails=NAME: the server of that name refuses.
	if query.Get("fails") == name {
		code = http.StatusServiceUnavailable
	}
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(seen)
}

// Spans that proxies have reported: those of Zipkin as they came, what is protobuf in hexadecimal digits.
var (
	spansLock sync.Mutex
	spans     = []json.RawMessage{}
)

// The oldest go first.
const mostSpans = 5000

func collect(path string, body []byte) {
	var some []json.RawMessage
	if path == "/v1/traces" {
		some = []json.RawMessage{json.RawMessage(fmt.Sprintf("%q", hex.EncodeToString(body)))}
	} else if err := json.Unmarshal(body, &some); err != nil {
		log.Print("no spans: ", err)
	}
	spansLock.Lock()
	defer spansLock.Unlock()
	spans = append(spans, some...)
	spans = spans[max(0, len(spans)-mostSpans):]
}

func collected(w http.ResponseWriter, _ *http.Request) {
	spansLock.Lock()
	defer spansLock.Unlock()
	json.NewEncoder(w).Encode(spans)
}

// What comes after the upgrade goes back as it came.
func tunnel(w http.ResponseWriter) {
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Name: "+name+"\r\n\r\n")
	io.Copy(conn, buffered)
}

func serveHTTP(address string) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := http.Server{Addr: address, Handler: http.HandlerFunc(answer), Protocols: protocols}
	log.Fatal(server.ListenAndServe())
}

func serveTLS() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"secure.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	chain, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		log.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{chain}, PrivateKey: key}}}
	server := http.Server{Addr: ":8443", Handler: http.HandlerFunc(answer), TLSConfig: config}
	log.Fatal(server.ListenAndServeTLS("", ""))
}

// Each line, with the name before it, until the other side closes.
func lines(conn net.Conn) {
	defer conn.Close()
	for scanner := bufio.NewScanner(conn); scanner.Scan(); {
		fmt.Fprintf(conn, "%s: %s\n", name, scanner.Text())
	}
}

// A greeting first, then as `lines`.
func banner(conn net.Conn) {
	fmt.Fprintf(conn, "220 %s\n", name)
	lines(conn)
}

// The gRPC service: a string that begins with "fail" is refused before any message, one with "wait" is answered late.
var service = grpc.ServiceDesc{
	ServiceName: "sampan.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		asked := new(wrapperspb.StringValue)
		if err := decode(asked); err != nil {
			return nil, err
		}
		return reply(ctx, asked.Value)
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
		for {
			asked := new(wrapperspb.StringValue)
			if err := stream.RecvMsg(asked); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			answer, err := reply(stream.Context(), asked.Value)
			if err != nil {
				return err
			}
			if err := stream.SendMsg(answer); err != nil {
				return err
			}
		}
	}}},
}

func reply(ctx context.Context, asked string) (*wrapperspb.StringValue, error) {
	grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", name))
	switch {
	case strings.HasPrefix(asked, "fail"):
		return nil, status.Error(codes.FailedPrecondition, "asked to "+asked)
	case strings.HasPrefix(asked, "wait"):
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5 * time.Second):
		}
	}
	return wrapperspb.String(name + ": " + asked), nil
}

func serveGRPC() {
	listener, err := net.Listen("tcp", ":9090")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	server.RegisterService(&service, nil)
	log.Fatal(server.Serve(listener))
}
