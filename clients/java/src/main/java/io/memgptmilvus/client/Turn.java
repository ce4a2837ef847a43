package io.memgptmilvus.client;

import io.grpc.Context;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.memgptmilvus.agent.v1.AgentServiceGrpc.AgentServiceBlockingStub;
import io.memgptmilvus.agent.v1.CancelTurnRequest;
import io.memgptmilvus.agent.v1.Done;
import io.memgptmilvus.agent.v1.SendMessageRequest;
import io.memgptmilvus.agent.v1.SendMessageResponse;
import io.memgptmilvus.agent.v1.TurnEvent;
import io.memgptmilvus.common.v1.ErrorReason;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.function.Supplier;

/**
 * One request to an agent and all that the agent does about it. It outlives its connection: when the stream breaks, or the Agent
 * stops, iteration continues on another replica after the last event it returned.
 *
 * <p>Closing a turn stops reading; the turn itself goes on. Use {@link #cancel} to stop it. Not safe for concurrent iteration.
 */
public final class Turn implements Iterable<TurnEvent>, AutoCloseable {
  private final AgentServiceBlockingStub agents;
  private final Supplier<Backoff> backoffs;
  private final Context.CancellableContext context = Context.current().withCancellation();
  private SendMessageRequest request;
  private volatile String id = "";
  private volatile Done done;

  Turn(AgentServiceBlockingStub agents, SendMessageRequest request, Supplier<Backoff> backoffs) {
    this.agents = agents;
    this.backoffs = backoffs;
    this.request =
        request.getRequestId().isEmpty() ? request.toBuilder().setRequestId(RequestIds.create()).build() : request;
  }

  /**
   * Returns what names the turn.
   *
   * @return the request id: sending the same request with it again, from any process, continues the same turn
   */
  public String requestId() {
    return request.getRequestId();
  }

  /**
   * Returns the turn's id.
   *
   * @return the id; empty before the server has said it
   */
  public String id() {
    return id;
  }

  /**
   * Returns how the turn ended.
   *
   * @return the last event's content; empty while the turn has not ended
   */
  public Optional<Done> done() {
    return Optional.ofNullable(done);
  }

  /**
   * Returns the events of the turn, up to and with {@code done}. Each durable event comes once and in order; iterating again
   * continues after the last one. The iterator throws {@link StatusRuntimeException}: the services' answer to the request, or
   * the last failure when the turn could not be resumed in time.
   */
  @Override
  public Iterator<TurnEvent> iterator() {
    return new Events();
  }

  /**
   * Asks the agent to stop this turn. What was committed stays.
   *
   * @return the turn as it is now
   */
  public io.memgptmilvus.memory.v1.Turn cancel() {
    CancelTurnRequest cancel =
        CancelTurnRequest.newBuilder().setAgentId(request.getAgentId()).setRequestId(requestId()).build();
    return agents.cancelTurn(cancel).getTurn();
  }

  /** Stops reading. The turn itself goes on. */
  @Override
  public void close() {
    context.cancel(null);
  }

  private void note(TurnEvent event) {
    if (event.getSequence() > request.getAfterSequence()) {
      request = request.toBuilder().setAfterSequence(event.getSequence()).build();
    }
    if (event.hasStarted() && !event.getStarted().getTurnId().isEmpty()) {
      id = event.getStarted().getTurnId();
    }
    if (event.hasDone()) {
      done = event.getDone();
    }
  }

  /**
   * Whether an event shows that the turn goes on. An Agent sends {@code started}, {@code model_call}, and
   * {@code step_restarted} before it does any work: with Memory or the model down, every attempt gets that far.
   */
  private static boolean isProgress(TurnEvent event) {
    return !event.hasStarted() && !event.hasModelCall() && !event.hasStepRestarted();
  }

  private final class Events implements Iterator<TurnEvent> {
    private final Backoff backoff = backoffs.get();
    private Iterator<SendMessageResponse> stream;
    private TurnEvent next;
    private boolean accepted;
    private boolean ended;

    @Override
    public boolean hasNext() {
      while (next == null && !ended) {
        try {
          next = read();
        } catch (StatusRuntimeException error) {
          stream = null;
          if (context.isCancelled()) {
            throw error;
          }
          // A token that expired during the stream may have a successor; one that is refused at once has none.
          boolean expired = accepted && Errors.reasonOf(error) == ErrorReason.ERROR_REASON_CREDENTIAL_EXPIRED;
          accepted = false;
          backoff.await(error, expired || Errors.isInterruption(error));
        }
      }
      return next != null;
    }

    @Override
    public TurnEvent next() {
      if (!hasNext()) {
        throw new NoSuchElementException();
      }
      TurnEvent event = next;
      next = null;
      note(event);
      ended = event.hasDone();
      return event;
    }

    private TurnEvent read() {
      if (stream == null) {
        Context previous = context.attach();
        try {
          stream = agents.sendMessage(request);
        } finally {
          context.detach(previous);
        }
      }
      if (!stream.hasNext()) {
        throw Status.UNAVAILABLE.withDescription("the stream ended before its last event").asRuntimeException();
      }
      TurnEvent event = stream.next().getEvent();
      accepted = true;
      if (isProgress(event)) {
        backoff.reset();
      }
      return event;
    }
  }
}
