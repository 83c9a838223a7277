package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A network namespace, by its path.
type into string

// PortForward implements portforward.PortForwarder: copies until both sides have ended.
func (network into) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	pod, err := network.dial(ctx, fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer pod.Close()
	go func() {
		if _, err := io.Copy(pod, stream); err != nil {
			// Whoever asked is gone: nobody wants the rest.
			pod.Close()
			return
		}
		pod.(*net.TCPConn).CloseWrite()
	}()
	if _, err := io.Copy(stream, pod); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("port %d in %s: %w", port, string(network), err)
	}
	return nil
}

// The main thread would stay in the network that it has entered: it does not end before the program.
func init() { runtime.LockOSThread() }

// A namespace is a thread's. The thread that has entered this one is never unlocked, and so ends with its goroutine; the connection stays in the
// namespace that its socket was made in.
func (network into) dial(ctx context.Context, address string) (net.Conn, error) {
	type outcome struct {
		conn net.Conn
		err  error
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread()
		conn, err := network.enterAndDial(ctx, address)
		done <- outcome{conn, err}
	}()
	out := <-done
	return out.conn, out.err
}

func (network into) enterAndDial(ctx context.Context, address string) (net.Conn, error) {
	file, err := os.Open(string(network))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("entering the network %s: %w", string(network), err)
	}
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp4", address)
	if err != nil {
		return nil, fmt.Errorf("in the network %s: %w", string(network), err)
	}
	return conn, nil
}
