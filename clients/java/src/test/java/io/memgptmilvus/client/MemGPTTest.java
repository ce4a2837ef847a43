package io.memgptmilvus.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import io.memgptmilvus.agent.v1.AgentServiceGrpc;
import io.memgptmilvus.agent.v1.AssistantMessage;
import io.memgptmilvus.agent.v1.CreateAgentRequest;
import io.memgptmilvus.agent.v1.CreateAgentResponse;
import io.memgptmilvus.agent.v1.Done;
import io.memgptmilvus.agent.v1.ListAgentsRequest;
import io.memgptmilvus.agent.v1.ListAgentsResponse;
import io.memgptmilvus.agent.v1.ModelCalled;
import io.memgptmilvus.agent.v1.SendMessageRequest;
import io.memgptmilvus.agent.v1.SendMessageResponse;
import io.memgptmilvus.agent.v1.Started;
import io.memgptmilvus.agent.v1.StepRestarted;
import io.memgptmilvus.agent.v1.TurnEvent;
import io.memgptmilvus.agent.v1.UpdateAgentRequest;
import io.memgptmilvus.agent.v1.UpdateAgentResponse;
import io.memgptmilvus.common.v1.ErrorReason;
import io.memgptmilvus.loader.v1.CreateLoadRequest;
import io.memgptmilvus.memory.v1.Agent;
import io.memgptmilvus.memory.v1.TurnState;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class MemGPTTest {
  private final FakeAgent fake = new FakeAgent();
  private Server server;
  private MemGPT memgpt;

  @BeforeEach
  void connect() throws Exception {
    server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create()).addService(fake).build().start();
    memgpt = MemGPT.builder().agent("localhost:" + server.getPort()).resumeTimeout(Duration.ofSeconds(5)).build();
  }

  @AfterEach
  void disconnect() {
    memgpt.close();
    server.shutdownNow();
  }

  static Stream<Arguments> interruptions() {
    return Stream.of(
        Arguments.of("drain", refusal(Status.UNAVAILABLE, "SHUTTING_DOWN")),
        Arguments.of("store", refusal(Status.UNAVAILABLE, "STORE_UNAVAILABLE")),
        Arguments.of("shed", refusal(Status.RESOURCE_EXHAUSTED, "OVERLOADED")),
        Arguments.of("killed behind a proxy", Status.INTERNAL.asRuntimeException()),
        Arguments.of("cancelled by a proxy", Status.CANCELLED.asRuntimeException()),
        Arguments.of("deadline of a proxy", Status.DEADLINE_EXCEEDED.asRuntimeException()),
        Arguments.of("cut", null));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("interruptions")
  void aTurnResumes(String name, StatusRuntimeException interruption) {
    Started started = Started.newBuilder().setTurnId("turn_1").build();
    fake.scripts.add(new Script(List.of(TurnEvent.newBuilder().setStarted(started).build(), message(1, "one")), interruption));
    fake.scripts.add(new Script(List.of(message(2, "two"), done(3)), null));
    List<String> texts = new ArrayList<>();
    try (Turn turn = memgpt.send(SendMessageRequest.newBuilder().setAgentId("agent_1").build())) {
      turn.forEach(event -> {
        if (event.hasMessage()) {
          texts.add(event.getMessage().getText());
        }
      });
      assertEquals("turn_1", turn.id());
      assertEquals(TurnState.TURN_STATE_COMPLETED, turn.done().orElseThrow().getState());
      assertEquals(List.of(turn.requestId(), turn.requestId()), fake.requests.stream().map(SendMessageRequest::getRequestId).toList());
    }
    assertEquals(List.of("one", "two"), texts);
    assertEquals(List.of(0L, 1L), fake.requests.stream().map(SendMessageRequest::getAfterSequence).toList());
  }

  @Test
  void aTurnReportsTheAnswerOfTheServices() {
    fake.scripts.add(new Script(List.of(message(1, "one")), refusal(Status.UNAVAILABLE, "MODEL_UNAVAILABLE")));
    try (Turn turn = memgpt.send(SendMessageRequest.getDefaultInstance())) {
      StatusRuntimeException error = assertThrows(StatusRuntimeException.class, () -> turn.forEach(event -> {}));
      assertEquals(ErrorReason.ERROR_REASON_MODEL_UNAVAILABLE, Errors.reasonOf(error));
    }
    assertEquals(1, fake.requests.size());
  }

  @Test
  void aTurnGoesOnWithTheNextToken() {
    StatusRuntimeException expired = refusal(Status.UNAUTHENTICATED, "CREDENTIAL_EXPIRED");
    fake.scripts.add(new Script(List.of(message(1, "one")), expired));
    fake.scripts.add(new Script(List.of(message(2, "two"), done(3)), null));
    AtomicInteger supplied = new AtomicInteger();
    MemGPT.Builder builder = MemGPT.builder().agent("localhost:" + server.getPort());
    builder.token(() -> "token" + supplied.incrementAndGet() + "\n");
    try (MemGPT client = builder.build(); Turn turn = client.send(SendMessageRequest.getDefaultInstance())) {
      turn.forEach(event -> {});
    }
    assertEquals(2, supplied.get());
    assertEquals(2, fake.requests.size());
  }

  @Test
  void aRefusedTokenIsNotSentAgain() {
    fake.scripts.add(new Script(List.of(), refusal(Status.UNAUTHENTICATED, "CREDENTIAL_EXPIRED")));
    try (Turn turn = memgpt.send(SendMessageRequest.getDefaultInstance())) {
      StatusRuntimeException error = assertThrows(StatusRuntimeException.class, () -> turn.forEach(event -> {}));
      assertEquals(ErrorReason.ERROR_REASON_CREDENTIAL_EXPIRED, Errors.reasonOf(error));
      assertEquals(List.of(true, false), List.of(Errors.isCredentialError(error), Errors.isPermissionError(error)));
    }
    assertEquals(1, fake.requests.size());
  }

  @ParameterizedTest
  @ValueSource(strings = {"", " ", "two words", "größe", "new\nline"})
  void aTokenThatCannotBeSentFailsTheCall(String token) {
    MemGPT.Builder builder = MemGPT.builder().agent("localhost:" + server.getPort()).token(token);
    try (MemGPT client = builder.build()) {
      ListAgentsRequest request = ListAgentsRequest.getDefaultInstance();
      StatusRuntimeException error = assertThrows(StatusRuntimeException.class, () -> client.agents().listAgents(request));
      assertEquals(Status.Code.UNAUTHENTICATED, error.getStatus().getCode());
      assertFalse(!token.isBlank() && error.toString().contains(token));
    }
  }

  @Test
  void aTokenIsNotSentInPlaintextToAnotherMachine() {
    for (String local : List.of("localhost:1", "127.0.0.1:1", "[::1]:1", "dns:///localhost:1", "dns:localhost:1", "ipv6:[::1]:1")) {
      MemGPT.builder().agent(local).token("k").build().close();
    }
    List<String> remote =
        List.of(
            "agent.example.org", "127.example.org", "localhost.example.org", "10.0.0.1", "0.0.0.0", "[::]", "dns:example.org",
            "dns://8.8.8.8/localhost", "ipv4:10.0.0.1");
    for (String host : remote) {
      MemGPT.Builder builder = MemGPT.builder().agent(host + ":50051").token("k");
      assertThrows(IllegalStateException.class, builder::build);
      builder.allowPlaintext().build().close();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"localhost", "127.0.0.1", "[::1]", "dns:///localhost", "dns:///[::1]", "dns:localhost", "ipv4:127.0.0.1", "ipv6:[::1]"})
  void everyFormOfAnAddressReachesTheServer(String host) {
    try (MemGPT client = MemGPT.builder().agent(host + ":" + server.getPort()).token("k").build()) {
      assertEquals(2, client.agents().listAgents(ListAgentsRequest.getDefaultInstance()).getAgentsCount());
    }
  }

  @Test
  @EnabledOnOs(OS.LINUX)
  void aUnixSocketReachesTheServer(@TempDir Path folder) throws Exception {
    Path socket = folder.resolve("agent.sock");
    EventLoopGroup group = new EpollEventLoopGroup(1);
    NettyServerBuilder builder =
        NettyServerBuilder.forAddress(new DomainSocketAddress(socket.toFile()), InsecureServerCredentials.create())
            .channelType(EpollServerDomainSocketChannel.class)
            .bossEventLoopGroup(group)
            .workerEventLoopGroup(group);
    Server local = builder.addService(fake).build().start();
    try (MemGPT client = MemGPT.builder().agent("unix:" + socket).token("k").build()) {
      assertEquals(2, client.agents().listAgents(ListAgentsRequest.getDefaultInstance()).getAgentsCount());
    } finally {
      local.shutdownNow().awaitTermination();
      group.shutdownGracefully(0, 0, TimeUnit.SECONDS).sync();
    }
  }

  @Test
  void severalAddressesInOneAreRefused() {
    MemGPT.Builder builder = MemGPT.builder().agent("ipv4:127.0.0.1:1,127.0.0.1:2");
    assertThrows(IllegalArgumentException.class, builder::build);
  }

  @Test
  void aTurnWhoseAttemptsOnlyStartGivesUp() {
    TurnEvent started = TurnEvent.newBuilder().setStarted(Started.newBuilder().setTurnId("turn_1")).build();
    TurnEvent restarted = TurnEvent.newBuilder().setStepRestarted(StepRestarted.getDefaultInstance()).build();
    TurnEvent called = TurnEvent.newBuilder().setModelCall(ModelCalled.newBuilder().setPromptTokens(9)).build();
    for (int attempt = 0; attempt < 8; attempt++) {
      fake.scripts.add(new Script(List.of(started, called, restarted), refusal(Status.UNAVAILABLE, "SERVICE_UNAVAILABLE")));
    }
    fake.scripts.add(new Script(List.of(done(1)), null));
    MemGPT.Builder builder = MemGPT.builder().agent("localhost:" + server.getPort()).resumeTimeout(Duration.ofSeconds(1));
    try (MemGPT impatient = builder.build(); Turn turn = impatient.send(SendMessageRequest.getDefaultInstance())) {
      StatusRuntimeException error = assertThrows(StatusRuntimeException.class, () -> turn.forEach(event -> {}));
      assertEquals(ErrorReason.ERROR_REASON_SERVICE_UNAVAILABLE, Errors.reasonOf(error));
    }
  }

  @Test
  void aTurnIsSentAgainUntilAnAgentRuns() throws Exception {
    int port = server.getPort();
    server.shutdownNow().awaitTermination();
    MemGPT.Builder builder = MemGPT.builder().agent("localhost:" + port).resumeTimeout(Duration.ofSeconds(2));
    try (MemGPT impatient = builder.build(); Turn turn = impatient.send(SendMessageRequest.getDefaultInstance())) {
      StatusRuntimeException error =
          assertTimeoutPreemptively(
              Duration.ofSeconds(20),
              () -> assertThrows(StatusRuntimeException.class, () -> turn.forEach(event -> {})));
      assertEquals(Status.Code.UNAVAILABLE, error.getStatus().getCode());
      fake.scripts.add(new Script(List.of(done(1)), null));
      server = Grpc.newServerBuilderForPort(port, InsecureServerCredentials.create()).addService(fake).build().start();
      turn.forEach(event -> {});
      assertEquals(TurnState.TURN_STATE_COMPLETED, turn.done().orElseThrow().getState());
    }
  }

  @Test
  void aLostServerIsLookedForEveryFewSeconds() throws Exception {
    try (ServerSocket lost = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
        MemGPT client = MemGPT.builder().agent("127.0.0.1:" + lost.getLocalPort()).build()) {
      Thread call = new Thread(() -> assertThrows(StatusRuntimeException.class, () -> client.agents().listAgents(ListAgentsRequest.getDefaultInstance())));
      call.start();
      // gRPC's own pauses are 1, 1.6, 2.6, 4.1, 6.6, and 10.5 s, each up to a fifth shorter.
      assertTimeoutPreemptively(
          Duration.ofSeconds(20),
          () -> {
            for (int connection = 0; connection < 7; connection++) {
              lost.accept().close();
            }
          });
      client.close();
      call.join();
    }
  }

  @Test
  void aStreamGetsARequestId() {
    fake.scripts.add(new Script(List.of(done(1)), null));
    memgpt.agents().sendMessage(SendMessageRequest.getDefaultInstance()).forEachRemaining(response -> {});
    assertFalse(fake.requests.get(0).getRequestId().isEmpty());
  }

  @Test
  void otherCallsAreNotRepeated() {
    UpdateAgentRequest request = UpdateAgentRequest.getDefaultInstance();
    StatusRuntimeException error = assertThrows(StatusRuntimeException.class, () -> memgpt.agents().updateAgent(request));
    assertEquals(ErrorReason.ERROR_REASON_SHUTTING_DOWN, Errors.reasonOf(error));
    assertEquals(1, fake.updates.get());
  }

  @Test
  void aMutationIsRepeatedUnderOneRequestId() {
    String id = memgpt.agents().createAgent(CreateAgentRequest.newBuilder().setName("Ada").build()).getAgent().getAgentId();
    assertEquals("agent_1", id);
    assertEquals(2, fake.created.size());
    assertEquals(fake.created.get(0).getRequestId(), fake.created.get(1).getRequestId());
    assertFalse(fake.created.get(0).getRequestId().isEmpty());
  }

  @Test
  void pagesAreOneSequence() {
    assertEquals(List.of("a", "b", "c"), memgpt.listAgents().stream().map(Agent::getAgentId).toList());
  }

  @Test
  void closingATurnEndsItsStream() throws Exception {
    fake.scripts.add(new Script(List.of(message(1, "one")), null, true));
    try (Turn turn = memgpt.send(SendMessageRequest.getDefaultInstance())) {
      assertEquals(message(1, "one"), turn.iterator().next());
    }
    fake.cancelled.await();
  }

  @Test
  void aClosedClientMakesNoFurtherAttempts() throws Exception {
    String address = "localhost:" + server.getPort();
    MemGPT client = MemGPT.builder().agent(address).loader(address).resumeTimeout(Duration.ofHours(1)).build();
    fake.scripts.add(new Script(List.of(message(1, "one")), null, true));
    try (Turn turn = client.send(SendMessageRequest.getDefaultInstance())) {
      Iterator<TurnEvent> events = turn.iterator();
      events.next();
      client.close();
      assertThrows(StatusRuntimeException.class, events::next);
    }
    try (Turn turn = client.send(SendMessageRequest.getDefaultInstance())) {
      assertThrows(StatusRuntimeException.class, turn.iterator()::next);
    }
    CreateLoadRequest load = CreateLoadRequest.getDefaultInstance();
    assertThrows(StatusRuntimeException.class, () -> client.load(load, List.of(), file -> {}));
    assertEquals(1, fake.requests.size());
    client.close();
  }

  @Test
  void errorsTellTheirReason() {
    StatusRuntimeException error = refusal(Status.NOT_FOUND, "AGENT_NOT_FOUND");
    assertEquals(ErrorReason.ERROR_REASON_AGENT_NOT_FOUND, Errors.reasonOf(error));
    assertEquals(Map.of("agent_id", "agent_x"), Errors.metadataOf(error));
    assertEquals(ErrorReason.ERROR_REASON_UNSPECIFIED, Errors.reasonOf(new RuntimeException("other")));
    assertEquals(ErrorReason.ERROR_REASON_UNSPECIFIED, Errors.reasonOf(refusal(Status.ABORTED, "FROM_THE_FUTURE")));
    assertEquals(Duration.ZERO, Errors.retryAfter(error));
  }

  private static StatusRuntimeException refusal(Status status, String reason) {
    ErrorInfo info =
        ErrorInfo.newBuilder().setDomain("memgpt").setReason(reason).putMetadata("agent_id", "agent_x").build();
    return StatusProto.toStatusRuntimeException(
        com.google.rpc.Status.newBuilder().setCode(status.getCode().value()).addDetails(Any.pack(info)).build());
  }

  private static TurnEvent message(long sequence, String text) {
    AssistantMessage message = AssistantMessage.newBuilder().setText(text).build();
    return TurnEvent.newBuilder().setSequence(sequence).setMessage(message).build();
  }

  private static TurnEvent done(long sequence) {
    Done done = Done.newBuilder().setState(TurnState.TURN_STATE_COMPLETED).build();
    return TurnEvent.newBuilder().setSequence(sequence).setDone(done).build();
  }

  /** The events of one stream, and how it ends: with an error, or for one that stays open, when it is cancelled. */
  private record Script(List<TurnEvent> events, StatusRuntimeException error, boolean staysOpen) {
    Script(List<TurnEvent> events, StatusRuntimeException error) {
      this(events, error, false);
    }
  }

  /** An Agent that plays one script for each stream. */
  private static final class FakeAgent extends AgentServiceGrpc.AgentServiceImplBase {
    private final Deque<Script> scripts = new ArrayDeque<>();
    private final List<SendMessageRequest> requests = new CopyOnWriteArrayList<>();
    private final List<CreateAgentRequest> created = new CopyOnWriteArrayList<>();
    private final AtomicInteger updates = new AtomicInteger();
    private final CountDownLatch cancelled = new CountDownLatch(1);

    @Override
    public void sendMessage(SendMessageRequest request, StreamObserver<SendMessageResponse> responses) {
      requests.add(request);
      Script script = scripts.remove();
      if (script.staysOpen()) {
        ((ServerCallStreamObserver<SendMessageResponse>) responses).setOnCancelHandler(cancelled::countDown);
      }
      script.events().forEach(event -> responses.onNext(SendMessageResponse.newBuilder().setEvent(event).build()));
      if (script.staysOpen()) {
        return;
      }
      if (script.error() == null) {
        responses.onCompleted();
      } else {
        responses.onError(script.error());
      }
    }

    @Override
    public void createAgent(CreateAgentRequest request, StreamObserver<CreateAgentResponse> responses) {
      created.add(request);
      if (created.size() == 1) {
        responses.onError(refusal(Status.UNAVAILABLE, "SHUTTING_DOWN"));
        return;
      }
      responses.onNext(CreateAgentResponse.newBuilder().setAgent(Agent.newBuilder().setAgentId("agent_1")).build());
      responses.onCompleted();
    }

    @Override
    public void updateAgent(UpdateAgentRequest request, StreamObserver<UpdateAgentResponse> responses) {
      updates.incrementAndGet();
      responses.onError(refusal(Status.UNAVAILABLE, "SHUTTING_DOWN"));
    }

    @Override
    public void listAgents(ListAgentsRequest request, StreamObserver<ListAgentsResponse> responses) {
      boolean first = request.getPageToken().isEmpty();
      ListAgentsResponse.Builder page = ListAgentsResponse.newBuilder();
      (first ? List.of("a", "b") : List.of("c")).forEach(id -> page.addAgents(Agent.newBuilder().setAgentId(id)));
      responses.onNext(page.setNextPageToken(first ? "2" : "").build());
      responses.onCompleted();
    }
  }
}
