package io.memgptmilvus.client;

import io.grpc.ChannelCredentials;
import io.grpc.CompositeChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.memgptmilvus.agent.v1.AgentServiceGrpc;
import io.memgptmilvus.agent.v1.AgentServiceGrpc.AgentServiceBlockingStub;
import io.memgptmilvus.agent.v1.ListAgentsRequest;
import io.memgptmilvus.agent.v1.ListAgentsResponse;
import io.memgptmilvus.agent.v1.ListSourcesRequest;
import io.memgptmilvus.agent.v1.ListSourcesResponse;
import io.memgptmilvus.agent.v1.SendMessageRequest;
import io.memgptmilvus.common.v1.IdentityServiceGrpc;
import io.memgptmilvus.common.v1.IdentityServiceGrpc.IdentityServiceBlockingStub;
import io.memgptmilvus.loader.v1.CreateLoadRequest;
import io.memgptmilvus.loader.v1.Load;
import io.memgptmilvus.loader.v1.LoadFile;
import io.memgptmilvus.loader.v1.LoaderServiceGrpc;
import io.memgptmilvus.loader.v1.LoaderServiceGrpc.LoaderServiceBlockingStub;
import io.memgptmilvus.memory.v1.Agent;
import io.memgptmilvus.memory.v1.ApiKeyServiceGrpc;
import io.memgptmilvus.memory.v1.ApiKeyServiceGrpc.ApiKeyServiceBlockingStub;
import io.memgptmilvus.memory.v1.ArchivalMemoryServiceGrpc;
import io.memgptmilvus.memory.v1.ArchivalMemoryServiceGrpc.ArchivalMemoryServiceBlockingStub;
import io.memgptmilvus.memory.v1.Message;
import io.memgptmilvus.memory.v1.PassageHit;
import io.memgptmilvus.memory.v1.QuotaServiceGrpc;
import io.memgptmilvus.memory.v1.QuotaServiceGrpc.QuotaServiceBlockingStub;
import io.memgptmilvus.memory.v1.RecallMemoryServiceGrpc;
import io.memgptmilvus.memory.v1.RecallMemoryServiceGrpc.RecallMemoryServiceBlockingStub;
import io.memgptmilvus.memory.v1.SearchMessagesRequest;
import io.memgptmilvus.memory.v1.SearchMessagesResponse;
import io.memgptmilvus.memory.v1.SearchPassagesRequest;
import io.memgptmilvus.memory.v1.SearchPassagesResponse;
import io.memgptmilvus.memory.v1.Source;
import io.memgptmilvus.memory.v1.TenantServiceGrpc;
import io.memgptmilvus.memory.v1.TenantServiceGrpc.TenantServiceBlockingStub;
import java.io.IOException;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/** Client of the services: the generated stubs, and what every caller needs on top of them. Safe for concurrent use. */
public final class MemGPT implements AutoCloseable {
  private static final int MAX_MESSAGE_BYTES = 32 << 20;

  private final Map<String, ManagedChannel> channels;
  private final Duration resumeTimeout;

  private MemGPT(Map<String, ManagedChannel> channels, Duration resumeTimeout) {
    this.channels = channels;
    this.resumeTimeout = resumeTimeout;
  }

  /**
   * Returns a builder of a client.
   *
   * @return a builder without addresses
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Returns the stub that talks to agents and manages them.
   *
   * @return a blocking stub
   */
  public AgentServiceBlockingStub agents() {
    return AgentServiceGrpc.newBlockingStub(channel("agent"));
  }

  /**
   * Returns the stub that turns documents into passages.
   *
   * @return a blocking stub
   */
  public LoaderServiceBlockingStub loads() {
    return LoaderServiceGrpc.newBlockingStub(channel("loader"));
  }

  /**
   * Returns the stub that searches archival memory.
   *
   * @return a blocking stub
   */
  public ArchivalMemoryServiceBlockingStub archive() {
    return ArchivalMemoryServiceGrpc.newBlockingStub(channel("memory"));
  }

  /**
   * Returns the stub that searches messages.
   *
   * @return a blocking stub
   */
  public RecallMemoryServiceBlockingStub recall() {
    return RecallMemoryServiceGrpc.newBlockingStub(channel("memory"));
  }

  /**
   * Returns the stub that says who the caller is.
   *
   * @return a blocking stub
   */
  public IdentityServiceBlockingStub identity() {
    return IdentityServiceGrpc.newBlockingStub(channel("agent"));
  }

  /**
   * Returns the stub that administers API keys.
   *
   * @return a blocking stub
   */
  public ApiKeyServiceBlockingStub keys() {
    return ApiKeyServiceGrpc.newBlockingStub(channel("memory"));
  }

  /**
   * Returns the stub that administers tenants.
   *
   * @return a blocking stub
   */
  public TenantServiceBlockingStub tenants() {
    return TenantServiceGrpc.newBlockingStub(channel("memory"));
  }

  /**
   * Returns the stub that limits and reports what tenants use.
   *
   * @return a blocking stub
   */
  public QuotaServiceBlockingStub quotas() {
    return QuotaServiceGrpc.newBlockingStub(channel("memory"));
  }

  /**
   * Gives an agent a message or an event.
   *
   * @param request the request; without a request id it gets a new one
   * @return the turn, which begins when it is iterated
   */
  public Turn send(SendMessageRequest request) {
    return new Turn(agents(), request, () -> new Backoff(resumeTimeout, channel("agent")));
  }

  /**
   * Loads files into a source and waits for the end, resuming when the Loader stops or the connection breaks. Files that the
   * source already has are not sent.
   *
   * @param request names the source and may set options; its files and, if it is empty, its request id are filled in
   * @param documents the files
   * @param progress called for each change of a file
   * @return the outcome of every file: a bad file fails on its own and does not throw
   * @throws IOException if a document cannot be read before the load begins
   */
  public Load load(CreateLoadRequest request, List<Document> documents, Consumer<LoadFile> progress) throws IOException {
    LoaderServiceGrpc.LoaderServiceStub uploads = LoaderServiceGrpc.newStub(channel("loader"));
    Backoff backoff = new Backoff(resumeTimeout, channel("loader"));
    return new LoadRun(loads(), uploads, request, documents, progress, backoff).toEnd();
  }

  /**
   * Searches archival memory.
   *
   * @param request what to search; its page size is the size of one fetch
   * @return the whole ranking, best first, to the last passage
   */
  public Pages<PassageHit> searchPassages(SearchPassagesRequest request) {
    return new Pages<>(
        token -> {
          SearchPassagesResponse page = archive().searchPassages(request.toBuilder().setPageToken(token).build());
          return new Pages.Page<>(page.getHitsList(), page.getNextPageToken());
        });
  }

  /**
   * Searches messages.
   *
   * @param request what to search; its page size is the size of one fetch
   * @return every message that matches
   */
  public Pages<Message> searchMessages(SearchMessagesRequest request) {
    return new Pages<>(
        token -> {
          SearchMessagesResponse page = recall().searchMessages(request.toBuilder().setPageToken(token).build());
          return new Pages.Page<>(page.getMessagesList(), page.getNextPageToken());
        });
  }

  /**
   * Lists agents.
   *
   * @return all agents in order of creation
   */
  public Pages<Agent> listAgents() {
    return new Pages<>(
        token -> {
          ListAgentsResponse page = agents().listAgents(ListAgentsRequest.newBuilder().setPageToken(token).build());
          return new Pages.Page<>(page.getAgentsList(), page.getNextPageToken());
        });
  }

  /**
   * Lists sources.
   *
   * @return all sources in order of creation
   */
  public Pages<Source> listSources() {
    return new Pages<>(
        token -> {
          ListSourcesResponse page = agents().listSources(ListSourcesRequest.newBuilder().setPageToken(token).build());
          return new Pages.Page<>(page.getSourcesList(), page.getNextPageToken());
        });
  }

  /**
   * Closes the connections. Turns and loads that are running continue on the servers; here they end with an error, as every later
   * call does. Closing again does nothing.
   */
  @Override
  public void close() {
    channels.values().forEach(ManagedChannel::shutdownNow);
    for (ManagedChannel channel : channels.values()) {
      try {
        channel.awaitTermination(5, TimeUnit.SECONDS);
      } catch (InterruptedException interrupted) {
        Thread.currentThread().interrupt();
        return;
      }
    }
  }

  private ManagedChannel channel(String service) {
    ManagedChannel channel = channels.get(service);
    if (channel == null) {
      throw new IllegalStateException("no address of the " + service + " service; give one to the builder");
    }
    return channel;
  }

  /** Builds a client. */
  public static final class Builder {
    /** What an address may begin with that gRPC looks up in the system's DNS, or not at all. */
    private static final Pattern SCHEME = Pattern.compile("^(dns:///|dns:(?!//)|ipv4:|ipv6:)");

    private final Map<String, String> addresses = new LinkedHashMap<>();
    private ChannelCredentials transport = InsecureChannelCredentials.create();
    private Supplier<String> token;
    private boolean plaintext;
    private Duration callTimeout = Duration.ofMinutes(1);
    private Duration resumeTimeout = Duration.ofMinutes(2);

    private Builder() {}

    /**
     * Sets the address of the Agent.
     *
     * @param address a gRPC target such as {@code localhost:50051} or {@code unix:/run/agent.sock}; a name with several addresses
     *     stands for replicas
     * @return this builder
     */
    public Builder agent(String address) {
      addresses.put("agent", address);
      return this;
    }

    /**
     * Sets the address of the Loader.
     *
     * @param address a gRPC target such as {@code localhost:50053} or {@code unix:/run/loader.sock}; a name with several addresses
     *     stands for replicas
     * @return this builder
     */
    public Builder loader(String address) {
      addresses.put("loader", address);
      return this;
    }

    /**
     * Sets the address of Memory.
     *
     * @param address a gRPC target such as {@code localhost:50052} or {@code unix:/run/memory.sock}; a name with several addresses
     *     stands for replicas
     * @return this builder
     */
    public Builder memory(String address) {
      addresses.put("memory", address);
      return this;
    }

    /**
     * Uses TLS. A client certificate in the credentials is a credential for the services, too. The default is plaintext.
     *
     * @param credentials such as {@code TlsChannelCredentials.create()}
     * @return this builder
     */
    public Builder transport(ChannelCredentials credentials) {
      transport = credentials;
      return this;
    }

    /**
     * Sends an API key or another bearer token with every call. On other machines than this one it requires TLS.
     *
     * @param bearer the token
     * @return this builder
     */
    public Builder token(String bearer) {
      return token(() -> bearer);
    }

    /**
     * Sends a bearer token that may change, such as a JSON Web Token, with every call. A turn whose token expires goes on with the
     * next one. On other machines than this one it requires TLS.
     *
     * @param supplier returns the token; it is called for each call, by several threads, and should keep a token until shortly
     *     before it expires
     * @return this builder
     */
    public Builder token(Supplier<String> supplier) {
      token = supplier;
      return this;
    }

    /**
     * Allows a token to be sent to other machines without TLS, if a mesh or a tunnel encrypts the connections.
     *
     * @return this builder
     */
    public Builder allowPlaintext() {
      plaintext = true;
      return this;
    }

    /**
     * Limits unary calls that have no deadline of their own. The default is one minute.
     *
     * @param timeout the limit
     * @return this builder
     */
    public Builder callTimeout(Duration timeout) {
      callTimeout = timeout;
      return this;
    }

    /**
     * Sets how long turns and loads are resumed without progress. The default is two minutes.
     *
     * @param time the limit
     * @return this builder
     */
    public Builder resumeTimeout(Duration time) {
      resumeTimeout = time;
      return this;
    }

    /**
     * Builds the client. Connections are made with the first call.
     *
     * @return the client, to be closed
     * @throws IllegalArgumentException if an address cannot be used
     * @throws IllegalStateException if a token would be sent to another machine without TLS
     */
    public MemGPT build() {
      addresses.replaceAll((service, address) -> target(address));
      if (token != null && !plaintext && transport instanceof InsecureChannelCredentials) {
        addresses.values().forEach(Bearer::checkExposure);
      }
      Map<String, ManagedChannel> channels = new LinkedHashMap<>();
      addresses.forEach((service, address) -> channels.put(service, open(address)));
      channels.values().forEach(Reconnects::watch);
      return new MemGPT(channels, resumeTimeout);
    }

    /** Returns what gRPC for Java understands of an address: it has no resolver for IP addresses, which need no scheme. */
    private static String target(String address) {
      String rest = SCHEME.matcher(address).replaceFirst("");
      if (!rest.equals(address) && rest.contains(",")) {
        throw new IllegalArgumentException(
            "several addresses in one target are not supported in Java; use a name that has all of them in DNS, such as"
                + " dns:///agents.example.org:50051");
      }
      return rest;
    }

    private ManagedChannel open(String address) {
      ChannelCredentials credentials =
          token == null ? transport : CompositeChannelCredentials.create(transport, new Bearer(token));
      return Grpc.newChannelBuilder(address, credentials)
          .defaultServiceConfig(Retries.serviceConfig())
          .enableRetry()
          .maxRetryAttempts(Retries.MAX_ATTEMPTS)
          .keepAliveTime(30, TimeUnit.SECONDS)
          .keepAliveTimeout(10, TimeUnit.SECONDS)
          .maxInboundMessageSize(MAX_MESSAGE_BYTES)
          .intercept(new RequestIds(callTimeout.toMillis()))
          .build();
    }
  }
}
