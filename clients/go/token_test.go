package memgpt

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	agentv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/agent/v1"
	commonv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/common/v1"
)

// recording returns a script that records the authorization of its call.
func recording(
	seen *[]string, script func(grpc.ServerStreamingServer[agentv1.SendMessageResponse]) error,
) func(grpc.ServerStreamingServer[agentv1.SendMessageResponse]) error {
	return func(stream grpc.ServerStreamingServer[agentv1.SendMessageResponse]) error {
		received, _ := metadata.FromIncomingContext(stream.Context())
		*seen = append(*seen, strings.Join(received.Get("authorization"), ","))
		return script(stream)
	}
}

func lastError(turn *Turn) error {
	var last error
	for _, err := range turn.Events() {
		last = err
	}
	return last
}

func TestTurnGoesOnWithTheNextToken(t *testing.T) {
	var seen []string
	expired := refusal(codes.Unauthenticated, "CREDENTIAL_EXPIRED")
	fake := &fakeAgent{}
	fake.scripts = append(fake.scripts,
		recording(&seen, play(expired, message(1, "one"))), recording(&seen, play(nil, message(2, "two"), done(3))))
	tokens := []string{"first\n", "second"}
	source := func(context.Context) (string, error) {
		token := tokens[0]
		tokens = tokens[1:]
		return token, nil
	}
	if err := lastError(serve(t, fake, WithTokenSource(source)).Send(t.Context(), &agentv1.SendMessageRequest{})); err != nil {
		t.Fatal(err)
	}
	if strings.Join(seen, ";") != "Bearer first;Bearer second" {
		t.Errorf("sent %q", seen)
	}
}

func TestARefusedTokenIsNotSentAgain(t *testing.T) {
	var seen []string
	fake := &fakeAgent{}
	fake.scripts = append(fake.scripts, recording(&seen, play(refusal(codes.Unauthenticated, "CREDENTIAL_EXPIRED"))))
	err := lastError(serve(t, fake, WithToken("fixed")).Send(t.Context(), &agentv1.SendMessageRequest{}))
	if !IsCredentialError(err) || IsPermissionError(err) || Reason(err) != commonv1.ErrorReason_ERROR_REASON_CREDENTIAL_EXPIRED {
		t.Errorf("got %v", err)
	}
	if len(seen) != 1 {
		t.Errorf("sent %q", seen)
	}
}

func TestTokensThatCannotBeSentFailTheCall(t *testing.T) {
	for _, token := range []string{"", " ", "two words", "größe", "new\nline", strings.Repeat("x", 20_000)} {
		_, err := serve(t, &fakeAgent{}, WithToken(token)).Agents.GetAgent(t.Context(), &agentv1.GetAgentRequest{})
		if status.Code(err) != codes.Unauthenticated || (strings.TrimSpace(token) != "" && strings.Contains(err.Error(), token)) {
			t.Errorf("%.20q: got %v", token, err)
		}
	}
	failing := func(context.Context) (string, error) { return "", errors.New("the provider is down") }
	_, err := serve(t, &fakeAgent{}, WithTokenSource(failing)).Agents.GetAgent(t.Context(), &agentv1.GetAgentRequest{})
	if err == nil || !strings.Contains(err.Error(), "the provider is down") {
		t.Errorf("got %v", err)
	}
}

func TestATokenIsNotSentInPlaintextToAnotherMachine(t *testing.T) {
	local := []string{
		"127.0.0.1:50051", "localhost:1", "localhost", "[::1]:1", "::1", "dns:///localhost:1", "dns:localhost:1", "dns:///[::1]:1",
		"ipv4:127.0.0.1:1", "ipv6:[::1]:1", "unix:/run/memgpt.sock",
	}
	remote := []string{
		"agent.example.org:50051", "127.example.org:1", "localhost.example.org:1", "10.0.0.1:1", "0.0.0.0:1", "[::]:1",
		"dns://8.8.8.8/localhost:1", "ipv4:10.0.0.1:1", "ipv6:[fe80::1]:1", "dns:example.org:1",
	}
	for _, address := range local {
		client, err := Dial(Addresses{Agent: address}, WithToken("k"))
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		_ = client.Close()
	}
	for _, address := range remote {
		if _, err := Dial(Addresses{Agent: address}, WithToken("k")); !errors.Is(err, errPlaintext) {
			t.Errorf("%s: got %v", address, err)
		}
		for _, allowed := range []Option{WithPlaintext(), WithTransportCredentials(credentials.NewTLS(nil))} {
			client, err := Dial(Addresses{Agent: address}, WithToken("k"), allowed)
			if err != nil {
				t.Errorf("%s: %v", address, err)
				continue
			}
			_ = client.Close()
		}
	}
}
