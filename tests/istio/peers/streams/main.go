// The kubelet's endpoint for streams, as far as `kubectl port-forward` and `istioctl` need it: connects a stream that the API server has
// passed on to a port of 127.0.0.1 in a pod's network.
//
//	streams ADDRESS FOLDER
//
// FOLDER has an entry NAMESPACE_POD for each pod that runs: the path of its network namespace, or a link to it. Started by ../../src/kubelet/streams.rs.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
)

const (
	// How long a stream may be idle, and its two halves may be apart: those of the kubelet.
	idle  = 4 * time.Hour
	apart = 30 * time.Second
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: streams ADDRESS FOLDER")
	}
	address, folder := os.Args[1], os.Args[2]
	certificate, err := selfSigned()
	if err != nil {
		log.Fatal("no certificate: ", err)
	}
	// What is upgraded to SPDY or websocket is HTTP/1.1.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	mux := http.NewServeMux()
	for _, method := range []string{"GET", "POST"} {
		mux.HandleFunc(method+" /portForward/{namespace}/{pod}", func(w http.ResponseWriter, r *http.Request) { forward(folder, w, r) })
	}
	server := http.Server{
		Addr: address, Handler: mux, Protocols: protocols,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
	}
	log.Fatal(server.ListenAndServeTLS("", ""))
}

func forward(folder string, w http.ResponseWriter, r *http.Request) {
	pod := r.PathValue("namespace") + "_" + r.PathValue("pod")
	network := filepath.Join(folder, pod)
	// No path out of the folder.
	if filepath.Base(network) != pod {
		http.Error(w, pod+": no name of a pod", http.StatusBadRequest)
		return
	}
	if _, err := os.Stat(network); err != nil {
		http.Error(w, "no such pod runs here: "+err.Error(), http.StatusNotFound)
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, into(network), pod, "", options, idle, apart, portforward.SupportedProtocols)
}

// The API server takes the certificate of a kubelet as it is.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubelet"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	chain, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{chain}, PrivateKey: key}, err
}
