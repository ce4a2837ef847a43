package memgpt

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/agent/v1"
	commonv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/common/v1"
	loaderv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/loader/v1"
	memoryv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/memory/v1"
)

// fakeAgent plays one script per SendMessage call.
type fakeAgent struct {
	agentv1.UnimplementedAgentServiceServer
	scripts  []func(stream grpc.ServerStreamingServer[agentv1.SendMessageResponse]) error
	requests []*agentv1.SendMessageRequest
	created  []*agentv1.CreateAgentRequest
	updates  int
}

func (f *fakeAgent) UpdateAgent(context.Context, *agentv1.UpdateAgentRequest) (*agentv1.UpdateAgentResponse, error) {
	f.updates++
	return nil, refusal(codes.Unavailable, "SHUTTING_DOWN")
}

func (f *fakeAgent) SendMessage(
	request *agentv1.SendMessageRequest, stream grpc.ServerStreamingServer[agentv1.SendMessageResponse],
) error {
	f.requests = append(f.requests, request)
	script := f.scripts[0]
	f.scripts = f.scripts[1:]
	return script(stream)
}

func (f *fakeAgent) CreateAgent(_ context.Context, request *agentv1.CreateAgentRequest) (*agentv1.CreateAgentResponse, error) {
	f.created = append(f.created, request)
	if len(f.created) == 1 {
		return nil, refusal(codes.Unavailable, "SHUTTING_DOWN")
	}
	return &agentv1.CreateAgentResponse{Agent: &memoryv1.Agent{AgentId: "agent_1"}}, nil
}

func (f *fakeAgent) ListAgents(_ context.Context, request *agentv1.ListAgentsRequest) (*agentv1.ListAgentsResponse, error) {
	switch request.GetPageToken() {
	case "":
		return &agentv1.ListAgentsResponse{Agents: []*memoryv1.Agent{{AgentId: "a"}, {AgentId: "b"}}, NextPageToken: "2"}, nil
	case "2":
		return &agentv1.ListAgentsResponse{Agents: []*memoryv1.Agent{{AgentId: "c"}}}, nil
	}
	return nil, status.Error(codes.InvalidArgument, "unknown token")
}

func refusal(code codes.Code, reason string) error {
	failed, err := status.New(code, "refused").WithDetails(
		&errdetails.ErrorInfo{Domain: "memgpt", Reason: reason, Metadata: map[string]string{"agent_id": "agent_x"}},
	)
	if err != nil {
		panic(err)
	}
	return failed.Err()
}

func serve(t *testing.T, fake *fakeAgent, opts ...Option) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	agentv1.RegisterAgentServiceServer(server, fake)
	go func() { _ = server.Serve(listener) }()
	client, err := Dial(Addresses{Agent: listener.Addr().String(), Loader: listener.Addr().String()}, append([]Option{WithResumeTimeout(5 * time.Second)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(); server.Stop() })
	return client
}

func message(sequence int64, text string) *agentv1.TurnEvent {
	return &agentv1.TurnEvent{
		Sequence: sequence, Event: &agentv1.TurnEvent_Message{Message: &agentv1.AssistantMessage{Text: text}},
	}
}

func done(sequence int64) *agentv1.TurnEvent {
	return &agentv1.TurnEvent{
		Sequence: sequence,
		Event:    &agentv1.TurnEvent_Done{Done: &agentv1.Done{State: memoryv1.TurnState_TURN_STATE_COMPLETED}},
	}
}

// play sends events, then ends the stream with err.
func play(err error, events ...*agentv1.TurnEvent) func(grpc.ServerStreamingServer[agentv1.SendMessageResponse]) error {
	return func(stream grpc.ServerStreamingServer[agentv1.SendMessageResponse]) error {
		for _, event := range events {
			if err := stream.Send(&agentv1.SendMessageResponse{Event: event}); err != nil {
				return err
			}
		}
		return err
	}
}

func TestTurnResumesAfterInterruptions(t *testing.T) {
	interruptions := map[string]error{
		"drain":               refusal(codes.Unavailable, "SHUTTING_DOWN"),
		"store":               refusal(codes.Unavailable, "STORE_UNAVAILABLE"),
		"shed":                refusal(codes.ResourceExhausted, "OVERLOADED"),
		"killed behind proxy": status.Error(codes.Internal, "RST_STREAM with error code 2"),
		"proxy unknown":       status.Error(codes.Unknown, "stream terminated"),
		"proxy cancelled":     status.Error(codes.Canceled, "cancelled"),
		"proxy deadline":      status.Error(codes.DeadlineExceeded, "upstream request timeout"),
		"cut":                 nil,
	}
	for name, interruption := range interruptions {
		t.Run(name, func(t *testing.T) {
			fake := &fakeAgent{}
			fake.scripts = append(fake.scripts,
				play(interruption, &agentv1.TurnEvent{Event: &agentv1.TurnEvent_Started{
					Started: &agentv1.Started{RequestId: "r", TurnId: "turn_1"}}}, message(1, "one")),
				play(nil, message(2, "two"), done(3)),
			)
			client := serve(t, fake)
			turn := client.Send(t.Context(), &agentv1.SendMessageRequest{AgentId: "agent_1"})
			var texts []string
			for event, err := range turn.Events() {
				if err != nil {
					t.Fatal(err)
				}
				if said := event.GetMessage(); said != nil {
					texts = append(texts, said.GetText())
				}
			}
			if !slices.Equal(texts, []string{"one", "two"}) {
				t.Errorf("got %q", texts)
			}
			first, second := fake.requests[0], fake.requests[1]
			if first.GetRequestId() == "" || first.GetRequestId() != second.GetRequestId() {
				t.Errorf("request ids %q and %q", first.GetRequestId(), second.GetRequestId())
			}
			if second.GetAfterSequence() != 1 {
				t.Errorf("resumed after %d", second.GetAfterSequence())
			}
			if turn.ID() != "turn_1" || turn.Done().GetState() != memoryv1.TurnState_TURN_STATE_COMPLETED {
				t.Errorf("turn %q, done %v", turn.ID(), turn.Done())
			}
		})
	}
}

func TestTurnReturnsRefusals(t *testing.T) {
	refusals := map[string]error{
		"unknown agent":     refusal(codes.NotFound, "AGENT_NOT_FOUND"),
		"model unavailable": refusal(codes.Unavailable, "MODEL_UNAVAILABLE"),
		"model limited":     refusal(codes.ResourceExhausted, "MODEL_RATE_LIMITED"),
	}
	for name, refused := range refusals {
		t.Run(name, func(t *testing.T) {
			fake := &fakeAgent{}
			fake.scripts = append(fake.scripts, play(refused, message(1, "one")))
			var last error
			for _, err := range serve(t, fake).Send(t.Context(), &agentv1.SendMessageRequest{}).Events() {
				last = err
			}
			if status.Code(last) != status.Code(refused) || Reason(last) != Reason(refused) {
				t.Errorf("got %v", last)
			}
			if len(fake.requests) != 1 {
				t.Errorf("%d requests", len(fake.requests))
			}
		})
	}
}

func TestTurnGivesUpWhenAttemptsOnlyStart(t *testing.T) {
	started := &agentv1.TurnEvent{Event: &agentv1.TurnEvent_Started{Started: &agentv1.Started{TurnId: "turn_1"}}}
	restarted := &agentv1.TurnEvent{Event: &agentv1.TurnEvent_StepRestarted{StepRestarted: &agentv1.StepRestarted{}}}
	called := &agentv1.TurnEvent{Event: &agentv1.TurnEvent_ModelCall{ModelCall: &agentv1.ModelCalled{PromptTokens: 9}}}
	fake := &fakeAgent{}
	for range 8 {
		fake.scripts = append(fake.scripts, play(refusal(codes.Unavailable, "SERVICE_UNAVAILABLE"), started, called, restarted))
	}
	fake.scripts = append(fake.scripts, play(nil, done(1)))
	var last error
	client := serve(t, fake, WithResumeTimeout(time.Second))
	for _, err := range client.Send(t.Context(), &agentv1.SendMessageRequest{}).Events() {
		last = err
	}
	if Reason(last) != commonv1.ErrorReason_ERROR_REASON_SERVICE_UNAVAILABLE {
		t.Errorf("got %v after %d requests", last, len(fake.requests))
	}
}

func TestTurnIsSentAgainUntilAnAgentRuns(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	client, err := Dial(Addresses{Agent: address}, WithResumeTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var last error
	for _, err := range client.Send(ctx, &agentv1.SendMessageRequest{}).Events() {
		last = err
	}
	if status.Code(last) != codes.Unavailable {
		t.Fatalf("without an Agent: %v", last)
	}
	fake := &fakeAgent{}
	fake.scripts = append(fake.scripts, play(nil, done(1)))
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	agentv1.RegisterAgentServiceServer(server, fake)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	client.resumeTimeout = 15 * time.Second
	for _, err := range client.Send(ctx, &agentv1.SendMessageRequest{}).Events() {
		if err != nil {
			t.Errorf("with an Agent: %v", err)
		}
	}
}

func TestStreamsGetARequestID(t *testing.T) {
	fake := &fakeAgent{}
	fake.scripts = append(fake.scripts, play(nil, done(1)))
	stream, err := serve(t, fake).Agents.SendMessage(t.Context(), &agentv1.SendMessageRequest{AgentId: "agent_1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	if fake.requests[0].GetRequestId() == "" {
		t.Error("no request id")
	}
}

func TestOtherCallsAreNotRepeated(t *testing.T) {
	fake := &fakeAgent{}
	_, err := serve(t, fake).Agents.UpdateAgent(t.Context(), &agentv1.UpdateAgentRequest{})
	if Reason(err) != commonv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN || fake.updates != 1 {
		t.Errorf("got %v after %d requests", err, fake.updates)
	}
}

func TestTurnEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	fake := &fakeAgent{}
	fake.scripts = append(fake.scripts, func(stream grpc.ServerStreamingServer[agentv1.SendMessageResponse]) error {
		cancel()
		<-stream.Context().Done()
		return stream.Context().Err()
	})
	for _, err := range serve(t, fake).Send(ctx, &agentv1.SendMessageRequest{}).Events() {
		if status.Code(err) != codes.Canceled {
			t.Errorf("got %v", err)
		}
	}
	if len(fake.requests) != 1 {
		t.Errorf("%d requests", len(fake.requests))
	}
}

func TestLeavingTheIterationEndsTheStream(t *testing.T) {
	ended := make(chan struct{})
	fake := &fakeAgent{}
	fake.scripts = append(fake.scripts, func(stream grpc.ServerStreamingServer[agentv1.SendMessageResponse]) error {
		defer close(ended)
		if err := stream.Send(&agentv1.SendMessageResponse{Event: message(1, "one")}); err != nil {
			return err
		}
		<-stream.Context().Done()
		return stream.Context().Err()
	})
	for _, err := range serve(t, fake).Send(t.Context(), &agentv1.SendMessageRequest{}).Events() {
		if err != nil {
			t.Error(err)
		}
		break
	}
	<-ended
}

func TestAClosedClientMakesNoFurtherAttempts(t *testing.T) {
	fake := &fakeAgent{}
	client := serve(t, fake, WithResumeTimeout(time.Hour))
	var failures []error
	fake.scripts = append(fake.scripts, func(stream grpc.ServerStreamingServer[agentv1.SendMessageResponse]) error {
		_ = client.Close()
		<-stream.Context().Done()
		return stream.Context().Err()
	})
	for range 2 { // during the turn, and after it
		for _, err := range client.Send(t.Context(), &agentv1.SendMessageRequest{}).Events() {
			failures = append(failures, err)
		}
	}
	_, err := client.Load(t.Context(), &loaderv1.CreateLoadRequest{}, nil, nil)
	for _, failure := range append(failures, err) {
		if failure == nil {
			t.Error("no error")
		}
	}
	if len(fake.requests) != 1 || len(failures) != 2 || client.Close() != nil {
		t.Errorf("%d requests, errors %v", len(fake.requests), failures)
	}
}

func TestARequestThatCannotBeEncodedFailsAtOnce(t *testing.T) {
	client := serve(t, &fakeAgent{}, WithResumeTimeout(time.Hour))
	request := &agentv1.SendMessageRequest{Input: &agentv1.SendMessageRequest_Text{Text: "\xff"}}
	for _, err := range client.Send(t.Context(), request).Events() {
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("got %v", err)
		}
	}
	_, err := client.Load(t.Context(), &loaderv1.CreateLoadRequest{Description: "\xff"}, nil, nil)
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v", err)
	}
}

func TestMutationsAreRepeatedUnderOneRequestID(t *testing.T) {
	fake := &fakeAgent{}
	request := &agentv1.CreateAgentRequest{Name: "Ada"}
	created, err := serve(t, fake).Agents.CreateAgent(t.Context(), request)
	if err != nil || created.GetAgent().GetAgentId() != "agent_1" {
		t.Fatal(created, err)
	}
	if len(fake.created) != 2 || fake.created[0].GetRequestId() == "" ||
		fake.created[0].GetRequestId() != fake.created[1].GetRequestId() {
		t.Errorf("requests %v", fake.created)
	}
	if request.GetRequestId() != "" {
		t.Error("the caller's request was changed")
	}
}

func TestPagesAreOneSequence(t *testing.T) {
	var ids []string
	for agent, err := range serve(t, &fakeAgent{}).ListAgents(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, agent.GetAgentId())
	}
	if strings.Join(ids, "") != "abc" {
		t.Errorf("got %q", ids)
	}
}

func TestErrorsTellTheirReason(t *testing.T) {
	err := refusal(codes.NotFound, "AGENT_NOT_FOUND")
	if Reason(err) != commonv1.ErrorReason_ERROR_REASON_AGENT_NOT_FOUND || Metadata(err)["agent_id"] != "agent_x" {
		t.Errorf("reason %v, metadata %v", Reason(err), Metadata(err))
	}
	for _, foreign := range []error{nil, errors.New("other"), io.EOF, status.Error(codes.Internal, "proxy")} {
		if Reason(foreign) != commonv1.ErrorReason_ERROR_REASON_UNSPECIFIED || RetryAfter(foreign) != 0 {
			t.Errorf("%v has reason %v", foreign, Reason(foreign))
		}
	}
	if newer := refusal(codes.Aborted, "FROM_THE_FUTURE"); Reason(newer) != 0 || Metadata(newer) == nil {
		t.Error("an unknown reason must keep its metadata")
	}
}

func TestTheTimeForRetriesRunsFromTheFirstFailure(t *testing.T) {
	err := status.Error(codes.Unavailable, "ping timeout")
	b := newBackoff(time.Second)
	b.reset()
	time.Sleep(1100 * time.Millisecond) // a connection that hangs takes longer to fail
	if !b.wait(context.Background(), err) {
		t.Fatal("gave up at the first failure")
	}
	b.since = b.since.Add(-time.Second)
	if b.wait(context.Background(), err) {
		t.Fatal("went on after the time was used up")
	}
}
