package memgpt

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/common/v1"
)

const maxTokenBytes = 16 << 10

var errPlaintext = errors.New("a credential is not sent to another machine without TLS, since others on the network could read " +
	"it; use WithTransportCredentials, or WithPlaintext if a mesh or a tunnel encrypts the connection")

// TokenSource returns the bearer token of a call. It is called for each call, from many goroutines, and should keep a token until
// shortly before it expires. Its error ends the call as UNAUTHENTICATED.
type TokenSource func(ctx context.Context) (string, error)

// WithToken sends an API key or another bearer token with every call. On other machines than this one it requires TLS.
func WithToken(token string) Option {
	return WithTokenSource(func(context.Context) (string, error) { return token, nil })
}

// WithTokenSource sends a bearer token that may change, such as a JSON Web Token, with every call. A turn whose token expires goes
// on with the next one. On other machines than this one it requires TLS.
func WithTokenSource(source TokenSource) Option {
	return func(o *options) { o.token = source }
}

// WithPlaintext allows a token to be sent to other machines without TLS, if a mesh or a tunnel encrypts the connections.
func WithPlaintext() Option {
	return func(o *options) { o.plaintext = true }
}

// IsCredentialError reports whether the services refused the credential of a call: there is none, or it is malformed, unknown,
// expired, revoked or invalid. Reason says which.
func IsCredentialError(err error) bool { return status.Code(err) == codes.Unauthenticated }

// IsPermissionError reports whether the credential is valid, but does not permit the call.
func IsPermissionError(err error) bool { return status.Code(err) == codes.PermissionDenied }

func expired(err error) bool {
	return Reason(err) == commonv1.ErrorReason_ERROR_REASON_CREDENTIAL_EXPIRED
}

type bearer struct{ source TokenSource }

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.source(ctx)
	if err != nil {
		return nil, err
	}
	token = strings.TrimSpace(token)
	if !isSendable(token) {
		return nil, status.Error(codes.Unauthenticated, "the token is empty, too long, or has characters that no token has")
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity returns false, since Dial has checked where the token may go.
func (bearer) RequireTransportSecurity() bool { return false }

func isSendable(token string) bool {
	if token == "" || len(token) > maxTokenBytes {
		return false
	}
	return !strings.ContainsFunc(token, func(character rune) bool { return character <= ' ' || character >= 0x7f })
}

// isLocal reports whether a gRPC target is on this machine.
func isLocal(target string) bool {
	if strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "unix-abstract:") {
		return true
	}
	for _, scheme := range []string{"dns:///", "dns:", "passthrough:///"} {
		target = strings.TrimPrefix(target, scheme)
	}
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		host = strings.Trim(target, "[]")
	}
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}
