package memgpt

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"

	agentv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/agent/v1"
)

func TestEveryFormOfAnAddressReachesTheServer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	listen := func(network, address string) string {
		listener, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		agentv1.RegisterAgentServiceServer(server, &fakeAgent{})
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(server.Stop)
		return listener.Addr().String()
	}
	ipv4, ipv6 := listen("tcp", "127.0.0.1:0"), listen("tcp", "[::1]:0")
	listen("unix", socket)
	for _, address := range []string{
		ipv4, "dns:///" + ipv4, "dns:" + ipv4, "ipv4:" + ipv4, strings.Replace(ipv4, "127.0.0.1", "localhost", 1),
		ipv6, "dns:///" + ipv6, "ipv6:" + ipv6, "passthrough:///" + ipv6,
		"unix:" + socket, "unix://" + socket,
	} {
		client, err := Dial(Addresses{Agent: address}, WithToken("k"))
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if _, err := client.Agents.ListAgents(t.Context(), &agentv1.ListAgentsRequest{}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
		_ = client.Close()
	}
	if _, err := Dial(Addresses{Agent: "ipv4:127.0.0.1:1,127.0.0.1:2"}); !errors.Is(err, errSeveral) {
		t.Errorf("got %v", err)
	}
}
