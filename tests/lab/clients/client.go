// A client in Go, as client.py is one in Python: crypto/tls as it comes, a connection for each call.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func ask(folder, address string) error {
	files, err := filepath.EvalSymlinks(folder) // one set of files, whatever becomes of the link meanwhile
	if err != nil {
		return err
	}
	anchors, err := os.ReadFile(filepath.Join(files, "ca.pem"))
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(files, "client.pem"), filepath.Join(files, "client.key"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(anchors)
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}},
		DisableKeepAlives: true,
	}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	answer, err := client.Get("https://" + address + ":2379/version")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var found struct {
		Server string `json:"etcdserver"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&found); err != nil {
		return err
	}
	if found.Server == "" {
		return fmt.Errorf("no version: %s", answer.Status)
	}
	return nil
}

func main() {
	folder, addresses := os.Args[1], os.Args[2:]
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for turn := 0; ; {
		said, attempts := []string{}, 0
		for attempts < 3 {
			attempts++
			address := addresses[turn%len(addresses)]
			turn++
			err := ask(folder, address)
			if err == nil {
				break
			}
			said = append(said, address+": "+err.Error())
		}
		line, _ := json.Marshal(map[string]any{"attempts": attempts, "said": said})
		fmt.Println(string(line))
		select {
		case <-ended:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}
