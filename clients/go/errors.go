package memgpt

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/common/v1"
)

const domain = "memgpt"

// Reason returns why a call failed, for programs to act on. It is ERROR_REASON_UNSPECIFIED for an error that the services did
// not send, such as a broken connection, and for a reason that is newer than this client.
func Reason(err error) commonv1.ErrorReason {
	if info := errorInfo(err); info != nil {
		return commonv1.ErrorReason(commonv1.ErrorReason_value["ERROR_REASON_"+info.GetReason()])
	}
	return commonv1.ErrorReason_ERROR_REASON_UNSPECIFIED
}

// Metadata returns the values that describe an error, by the keys that the contract lists for its reason. It is nil for an
// error that the services did not send.
func Metadata(err error) map[string]string { return errorInfo(err).GetMetadata() }

// RetryAfter returns the time to wait before a call is repeated, or 0 if the server did not say.
func RetryAfter(err error) time.Duration {
	retry, _ := detail[*errdetails.RetryInfo](err)
	return retry.GetRetryDelay().AsDuration()
}

// FieldViolations returns the fields of the request that are invalid, with what is wrong with each.
func FieldViolations(err error) []*errdetails.BadRequest_FieldViolation {
	request, _ := detail[*errdetails.BadRequest](err)
	return request.GetFieldViolations()
}

func errorInfo(err error) *errdetails.ErrorInfo {
	info, ok := detail[*errdetails.ErrorInfo](err)
	if !ok || info.GetDomain() != domain {
		return nil
	}
	return info
}

func detail[T any](err error) (T, bool) {
	for _, each := range status.Convert(err).Details() {
		if found, ok := each.(T); ok {
			return found, true
		}
	}
	var none T
	return none, false
}

// interrupted reports whether a stream ended by its transport or by a server that is stopping, and not by an answer to the
// request. A status without ErrorInfo comes from a proxy or the transport, whatever its code.
func interrupted(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if errors.Is(err, io.EOF) { // ended without its last event
		return true
	}
	switch Reason(err) {
	case commonv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN,
		commonv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE,
		commonv1.ErrorReason_ERROR_REASON_SERVICE_UNAVAILABLE,
		commonv1.ErrorReason_ERROR_REASON_LOAD_HELD_ELSEWHERE,
		commonv1.ErrorReason_ERROR_REASON_OVERLOADED:
		return true
	}
	if errorInfo(err) != nil {
		return false
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Internal, codes.Unknown, codes.Canceled, codes.DeadlineExceeded:
		return true
	}
	return false
}
