package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Call is one thing to do, Count times, one after the other.
type Call struct {
	// http1, http2, websocket, tcp, grpc or grpc-stream.
	Kind    string            `json:"kind"`
	URL     string            `json:"url"`
	Method  string            `json:"method"`
	Host    string            `json:"host"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Count   int               `json:"count"`
	// Milliseconds; 10 s when there is none.
	Timeout int `json:"timeout"`
	// Where to connect to, if not to the host of the URL.
	Connect string `json:"connect"`
	// A certificate and its key to show, both PEM, one after the other.
	Certificate string `json:"certificate"`
}

// Seen is what came of it.
type Seen struct {
	Status  int                 `json:"status,omitempty"`
	Proto   string              `json:"proto,omitempty"`
	Headers map[string][]string `json:"headers,omitempty"`
	Trailer map[string][]string `json:"trailer,omitempty"`
	Body    string              `json:"body"`
	Peer    string              `json:"peer,omitempty"`
	Error   string              `json:"error,omitempty"`
	Millis  int64               `json:"millis"`
}

func (call Call) run() (seen Seen) {
	if call.Timeout == 0 {
		call.Timeout = 10_000
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(call.Timeout)*time.Millisecond)
	defer cancel()
	var err error
	switch call.Kind {
	case "websocket":
		err = call.websocket(ctx, &seen)
	case "tcp":
		err = call.tcp(ctx, &seen)
	case "grpc", "grpc-stream":
		err = call.grpc(ctx, &seen)
	default:
		err = call.http(ctx, &seen)
	}
	if err != nil {
		seen.Error = err.Error()
	}
	seen.Millis = time.Since(began).Milliseconds()
	return seen
}

// Connections are kept between calls, as an application does.
var (
	clientsLock sync.Mutex
	clients     = map[string]*http.Client{}
)

func (call Call) client() (*http.Client, error) {
	clientsLock.Lock()
	defer clientsLock.Unlock()
	key := call.Kind + call.Connect + call.Certificate
	if clients[key] == nil {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(call.Kind == "http1")
		protocols.SetUnencryptedHTTP2(call.Kind == "http2")
		protocols.SetHTTP2(call.Kind == "http2")
		config := &tls.Config{InsecureSkipVerify: true}
		if call.Certificate != "" {
			own, err := tls.X509KeyPair([]byte(call.Certificate), []byte(call.Certificate))
			if err != nil {
				return nil, err
			}
			config.Certificates = []tls.Certificate{own}
		}
		transport := &http.Transport{Protocols: protocols, TLSClientConfig: config}
		connect := call.Connect
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if connect != "" {
				address = connect
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		never := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		clients[key] = &http.Client{Transport: transport, CheckRedirect: never}
	}
	return clients[key], nil
}

func (call Call) http(ctx context.Context, seen *Seen) error {
	method := call.Method
	if method == "" {
		method = http.MethodGet
	}
	request, err := http.NewRequestWithContext(ctx, method, call.URL, strings.NewReader(call.Body))
	if err != nil {
		return err
	}
	for key, value := range call.Headers {
		request.Header.Set(key, value)
	}
	request.Host = call.Host
	client, err := call.client()
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	seen.Status, seen.Proto, seen.Headers, seen.Body = response.StatusCode, response.Proto, response.Header, string(body)
	if len(response.Trailer) > 0 {
		seen.Trailer = response.Trailer
	}
	if response.TLS != nil && len(response.TLS.PeerCertificates) > 0 {
		seen.Peer = response.TLS.PeerCertificates[0].Subject.CommonName
	}
	return err
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err == nil {
		deadline, _ := ctx.Deadline()
		conn.SetDeadline(deadline)
	}
	return conn, err
}

func (call Call) websocket(ctx context.Context, seen *Seen) error {
	target, err := url.Parse(call.URL)
	if err != nil {
		return err
	}
	conn, err := dial(ctx, target.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n",
		target.RequestURI(), target.Hostname())
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	seen.Status, seen.Proto, seen.Headers = response.StatusCode, response.Proto, response.Header
	if response.StatusCode != http.StatusSwitchingProtocols {
		return errors.New("not upgraded")
	}
	for range 3 {
		io.WriteString(conn, call.Body)
		back := make([]byte, len(call.Body))
		if _, err := io.ReadFull(reader, back); err != nil {
			return err
		}
		seen.Body += string(back)
	}
	return nil
}

// Sends a line if there is one, and reads as many lines as were sent, and one more when the server speaks first (X-First).
func (call Call) tcp(ctx context.Context, seen *Seen) error {
	conn, err := dial(ctx, call.URL)
	if err != nil {
		return err
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	if call.Headers["first"] != "" {
		line, err := reader.ReadString('\n')
		seen.Body += line
		if err != nil {
			return err
		}
	}
	fmt.Fprintln(conn, call.Body)
	line, err := reader.ReadString('\n')
	seen.Body += line
	return err
}

func (call Call) grpc(ctx context.Context, seen *Seen) error {
	conn, err := grpc.NewClient("passthrough:///"+call.URL, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(call.Host))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(call.Headers))
	var header, trailer metadata.MD
	if call.Kind == "grpc" {
		back := new(wrapperspb.StringValue)
		err = conn.Invoke(ctx, "/sampan.Echo/Unary", wrapperspb.String(call.Body), back, grpc.Header(&header), grpc.Trailer(&trailer))
		seen.Body = back.Value
	} else {
		err = call.stream(ctx, conn, seen)
	}
	seen.Status, seen.Headers, seen.Trailer = int(status.Code(err)), header, trailer
	return err
}

// Three messages each way, one after the other.
func (call Call) stream(ctx context.Context, conn *grpc.ClientConn, seen *Seen) error {
	stream, err := conn.NewStream(ctx, &service.Streams[0], "/sampan.Echo/Stream")
	if err != nil {
		return err
	}
	for i := range 3 {
		if err := stream.SendMsg(wrapperspb.String(fmt.Sprintf("%s %d", call.Body, i))); err != nil && err != io.EOF {
			return err
		}
		back := new(wrapperspb.StringValue)
		if err := stream.RecvMsg(back); err != nil {
			return err
		}
		seen.Body += back.Value + "\n"
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != io.EOF {
		return err
	}
	return nil
}
