package memgpt

import (
	"context"
	"iter"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/agent/v1"
	memoryv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/memory/v1"
)

// Turn is one request to an agent and all that the agent does about it. It outlives its connection: when the stream breaks,
// or the Agent stops, Events continues on another replica after the last event it returned.
type Turn struct {
	client  *Client
	ctx     context.Context
	request *agentv1.SendMessageRequest

	mu     sync.Mutex
	turnID string
	done   *agentv1.Done
}

// Send prepares a turn that gives the agent a message or an event. The turn begins when Events is ranged over. A request
// without a request id gets a new one.
func (c *Client) Send(ctx context.Context, request *agentv1.SendMessageRequest) *Turn {
	request = proto.Clone(request).(*agentv1.SendMessageRequest)
	if request.GetRequestId() == "" {
		request.RequestId = NewRequestID()
	}
	return &Turn{client: c, ctx: ctx, request: request}
}

// RequestID names the turn: sending the same request with it again, from any process, continues the same turn.
func (t *Turn) RequestID() string { return t.request.GetRequestId() }

// ID returns the turn's id, or "" before the server has said it.
func (t *Turn) ID() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.turnID
}

// Done returns how the turn ended, or nil while it has not.
func (t *Turn) Done() *agentv1.Done {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done
}

// Events returns the events of the turn, up to and with Done. Each durable event is returned once and in order. An error is
// returned last: the context's, the services' answer to the request, or the last failure when the turn could not be resumed
// within the resume timeout. Ranging again continues after the last durable event.
func (t *Turn) Events() iter.Seq2[*agentv1.TurnEvent, error] {
	return func(yield func(*agentv1.TurnEvent, error) bool) {
		// A request that cannot be encoded fails as INTERNAL, as a broken stream does.
		if _, err := proto.Marshal(t.request); err != nil {
			yield(nil, status.Error(codes.InvalidArgument, err.Error()))
			return
		}
		backoff := newBackoff(t.client.resumeTimeout)
		for {
			accepted, err := t.stream(backoff, yield)
			if err == nil {
				return
			}
			// A token that expired during the stream may have a successor; one that is refused at once has none.
			resumable := t.client.interrupted(t.ctx, err) || (accepted && expired(err))
			if !resumable || !backoff.wait(t.ctx, err) {
				yield(nil, err)
				return
			}
		}
	}
}

// Cancel asks the agent to stop this turn. What was committed stays.
func (t *Turn) Cancel(ctx context.Context) (*memoryv1.Turn, error) {
	response, err := t.client.Agents.CancelTurn(ctx, &agentv1.CancelTurnRequest{
		AgentId: t.request.GetAgentId(), RequestId: t.request.GetRequestId(),
	})
	return response.GetTurn(), err
}

// stream reads one connection's events. It returns no error when the turn has ended or the caller stopped reading, and whether
// there was an event.
func (t *Turn) stream(backoff *backoff, yield func(*agentv1.TurnEvent, error) bool) (accepted bool, err error) {
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	stream, err := t.client.Agents.SendMessage(ctx, t.request)
	if err != nil {
		return false, err
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return accepted, err
		}
		accepted = true
		event := response.GetEvent()
		if isProgress(event) {
			backoff.reset()
		}
		t.note(event)
		if !yield(event, nil) || event.GetDone() != nil {
			return accepted, nil
		}
	}
}

// isProgress reports whether an event shows that the turn goes on. An Agent sends Started, ModelCalled, and StepRestarted
// before it does any work: with Memory or the model down, every attempt gets that far.
func isProgress(event *agentv1.TurnEvent) bool {
	return event.GetStarted() == nil && event.GetModelCall() == nil && event.GetStepRestarted() == nil
}

func (t *Turn) note(event *agentv1.TurnEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.request.AfterSequence = max(t.request.GetAfterSequence(), event.GetSequence())
	if started := event.GetStarted(); started.GetTurnId() != "" {
		t.turnID = started.GetTurnId()
	}
	if done := event.GetDone(); done != nil {
		t.done = done
	}
}
