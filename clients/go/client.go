package memgpt

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	agentv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/agent/v1"
	commonv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/common/v1"
	loaderv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/loader/v1"
	memoryv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/memory/v1"
)

const (
	// DefaultCallTimeout limits a unary call whose context has no deadline.
	DefaultCallTimeout = 60 * time.Second

	// DefaultResumeTimeout is how long a turn or a load is resumed without progress before its error is returned.
	DefaultResumeTimeout = 2 * time.Minute

	maxMessageBytes = 32 << 20
)

var errSeveral = errors.New("several addresses in one target are not supported in Go; use a name that has all of them in DNS, " +
	"such as dns:///agents.example.org:50051")

// Addresses are the gRPC targets of the services, such as "localhost:50051", "[::1]:50051", "dns:///agent.example.org:443", or
// "unix:/run/agent.sock". A name that has several addresses in DNS stands for replicas. A service without an address cannot be
// called.
type Addresses struct {
	Agent  string
	Loader string
	Memory string
}

// Client holds the connections to the services. It is safe for concurrent use.
type Client struct {
	// Agents talks to agents and manages them.
	Agents agentv1.AgentServiceClient
	// Loads turns documents into passages.
	Loads loaderv1.LoaderServiceClient
	// Archive searches archival memory.
	Archive memoryv1.ArchivalMemoryServiceClient
	// Recall searches messages.
	Recall memoryv1.RecallMemoryServiceClient
	// Identity says who the caller is.
	Identity commonv1.IdentityServiceClient
	// Keys administers API keys.
	Keys memoryv1.ApiKeyServiceClient
	// Tenants administers tenants.
	Tenants memoryv1.TenantServiceClient
	// Quotas limits and reports what tenants use.
	Quotas memoryv1.QuotaServiceClient

	connections   []*grpc.ClientConn
	resumeTimeout time.Duration
	closed        atomic.Bool
}

type options struct {
	transport     credentials.TransportCredentials
	token         TokenSource
	plaintext     bool
	secure        bool
	timeout       time.Duration
	resumeTimeout time.Duration
	dial          []grpc.DialOption
}

// Option changes how a client connects.
type Option func(*options)

// WithTransportCredentials uses TLS, for example credentials.NewTLS(&tls.Config{}). A client certificate in the configuration is
// a credential, too. The default is plaintext.
func WithTransportCredentials(transport credentials.TransportCredentials) Option {
	return func(o *options) { o.transport, o.secure = transport, transport.Info().SecurityProtocol != "insecure" }
}

// WithCallTimeout limits unary calls whose context has no deadline, in place of DefaultCallTimeout.
func WithCallTimeout(timeout time.Duration) Option {
	return func(o *options) { o.timeout = timeout }
}

// WithResumeTimeout sets how long turns and loads are resumed without progress, in place of DefaultResumeTimeout.
func WithResumeTimeout(resumeTimeout time.Duration) Option {
	return func(o *options) { o.resumeTimeout = resumeTimeout }
}

// WithDialOptions adds options of grpc.NewClient, such as interceptors.
func WithDialOptions(dial ...grpc.DialOption) Option {
	return func(o *options) { o.dial = append(o.dial, dial...) }
}

// Dial prepares the connections; they are made with the first call.
func Dial(addresses Addresses, opts ...Option) (*Client, error) {
	o := options{transport: insecure.NewCredentials(), timeout: DefaultCallTimeout, resumeTimeout: DefaultResumeTimeout}
	for _, option := range opts {
		option(&o)
	}
	client := &Client{resumeTimeout: o.resumeTimeout}
	connect := func(address string) (*grpc.ClientConn, error) {
		address, err := oneAddress(address)
		if err != nil {
			return nil, err
		}
		if o.token != nil && !o.secure && !o.plaintext && !isLocal(address) {
			return nil, errPlaintext
		}
		connection, err := grpc.NewClient(address, o.dialOptions()...)
		if err == nil {
			client.connections = append(client.connections, connection)
		}
		return connection, err
	}
	bind := []struct {
		address string
		stubs   func(*grpc.ClientConn)
	}{
		{addresses.Agent, func(c *grpc.ClientConn) {
			client.Agents = agentv1.NewAgentServiceClient(c)
			client.Identity = commonv1.NewIdentityServiceClient(c)
		}},
		{addresses.Loader, func(c *grpc.ClientConn) { client.Loads = loaderv1.NewLoaderServiceClient(c) }},
		{addresses.Memory, func(c *grpc.ClientConn) {
			client.Archive = memoryv1.NewArchivalMemoryServiceClient(c)
			client.Recall = memoryv1.NewRecallMemoryServiceClient(c)
			client.Keys = memoryv1.NewApiKeyServiceClient(c)
			client.Tenants = memoryv1.NewTenantServiceClient(c)
			client.Quotas = memoryv1.NewQuotaServiceClient(c)
		}},
	}
	for _, service := range bind {
		if service.address == "" {
			continue
		}
		connection, err := connect(service.address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("connect to %q: %w", service.address, err), client.Close())
		}
		service.stubs(connection)
	}
	return client, nil
}

// oneAddress returns the target of an address in the form "ipv4:127.0.0.1:50051" or "ipv6:[::1]:50051", for which gRPC for Go has
// no resolver, and any other as it is.
func oneAddress(target string) (string, error) {
	for _, scheme := range []string{"ipv4:", "ipv6:"} {
		address, found := strings.CutPrefix(target, scheme)
		if !found {
			continue
		}
		if strings.Contains(address, ",") {
			return "", errSeveral
		}
		return address, nil
	}
	return target, nil
}

// Close closes the connections. Turns and loads that are running continue on the servers; here they end with an error, as every
// later call does. Closing again does nothing.
func (c *Client) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	var failures []error
	for _, connection := range c.connections {
		failures = append(failures, connection.Close())
	}
	return errors.Join(failures...)
}

// interrupted reports whether err is an interruption, and another attempt can be made.
func (c *Client) interrupted(ctx context.Context, err error) bool {
	return !c.closed.Load() && interrupted(ctx, err)
}

func (o *options) dialOptions() []grpc.DialOption {
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(o.transport),
		grpc.WithDefaultServiceConfig(serviceConfig()),
		grpc.WithMaxCallAttempts(maxAttempts),
		// By default gRPC ends up looking for a lost server only every two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           grpcbackoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 20 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithChainUnaryInterceptor(o.limit, identify),
		grpc.WithChainStreamInterceptor(identifyStream),
	}
	if o.token != nil {
		dial = append(dial, grpc.WithPerRPCCredentials(bearer{o.token}))
	}
	return append(dial, o.dial...)
}

// limit gives a unary call without a deadline the default one.
func (o *options) limit(
	ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker,
	opts ...grpc.CallOption,
) error {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	return invoke(ctx, method, request, response, connection, opts...)
}

// identify sends a copy of a mutation that lacks a request id with a new one, so that the call can be repeated.
func identify(
	ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker,
	opts ...grpc.CallOption,
) error {
	return invoke(ctx, method, withRequestID(method, request), response, connection, opts...)
}

// identifyStream does the same for a mutation that streams its response, such as SendMessage.
func identifyStream(
	ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string, open grpc.Streamer,
	opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := open(ctx, description, connection, method, opts...)
	if err != nil {
		return nil, err
	}
	return &identifiedStream{ClientStream: stream, method: method}, nil
}

type identifiedStream struct {
	grpc.ClientStream
	method string
}

func (s *identifiedStream) SendMsg(request any) error {
	return s.ClientStream.SendMsg(withRequestID(s.method, request))
}

func withRequestID(method string, message any) any {
	request, ok := message.(proto.Message)
	if !ok || method == agentv1.AgentService_CancelTurn_FullMethodName || method == agentv1.AgentService_ResumeTurn_FullMethodName {
		return message // in the last two, the id is that of an earlier request
	}
	field := request.ProtoReflect().Descriptor().Fields().ByName("request_id")
	if field == nil || field.Kind() != protoreflect.StringKind || request.ProtoReflect().Get(field).String() != "" {
		return request
	}
	identified := proto.Clone(request)
	identified.ProtoReflect().Set(field, protoreflect.ValueOfString(NewRequestID()))
	return identified
}

// NewRequestID returns 130 random bits as text. The same id with the same request is the same mutation.
func NewRequestID() string { return rand.Text() }
