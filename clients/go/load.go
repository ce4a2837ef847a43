package memgpt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	loaderv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/loader/v1"
)

const (
	chunkBytes = 64 << 10
	maxReason  = 1000
)

// File is a document to load. Open is called twice or more: for its hash, and for each upload.
type File struct {
	// Name labels the file within its source.
	Name string
	// Open returns the file's bytes from the start.
	Open func() (io.ReadCloser, error)
}

// FileAt returns the file at a path, under its base name.
func FileAt(path string) File {
	return File{Name: filepath.Base(path), Open: func() (io.ReadCloser, error) { return os.Open(path) }}
}

// Load loads files into a source and waits for the end. The request names the source and may set options; its files and, if
// it is empty, its request id are filled in. Files that the source already has are not sent. When the Loader stops or the
// connection breaks, Load resumes it. The returned load holds the outcome of every file: a bad file fails on its own without
// an error here. Progress, which may be nil, is called for each change of a file.
func (c *Client) Load(
	ctx context.Context, request *loaderv1.CreateLoadRequest, files []File, progress func(*loaderv1.LoadFile),
) (*loaderv1.Load, error) {
	request = proto.Clone(request).(*loaderv1.CreateLoadRequest)
	if request.GetRequestId() == "" {
		request.RequestId = NewRequestID()
	}
	request.Files = nil
	byName := make(map[string]File, len(files))
	for _, file := range files {
		manifest, err := manifestOf(file)
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", file.Name, err)
		}
		request.Files = append(request.Files, manifest)
		byName[file.Name] = file
	}
	if _, err := proto.Marshal(request); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	run := &loadRun{client: c, request: request, files: byName, progress: progress, backoff: newBackoff(c.resumeTimeout)}
	for {
		load, err := run.attempt(ctx)
		if err == nil || !c.interrupted(ctx, err) || !run.backoff.wait(ctx, err) {
			return load, err
		}
	}
}

type loadRun struct {
	client   *Client
	request  *loaderv1.CreateLoadRequest
	files    map[string]File
	progress func(*loaderv1.LoadFile)
	backoff  *backoff
	sequence int64
}

// attempt creates the load, or finds it as it is now, sends what is wanted, and follows it to its end.
func (r *loadRun) attempt(ctx context.Context) (*loaderv1.Load, error) {
	created, err := r.client.Loads.CreateLoad(ctx, r.request)
	if err != nil {
		return nil, err
	}
	load := created.GetLoad()
	for _, file := range load.GetFiles() {
		if file.GetState() == loaderv1.FileState_FILE_STATE_AWAITING_UPLOAD {
			if err := r.upload(ctx, load.GetLoadId(), file.GetManifest().GetName()); err != nil {
				return nil, err
			}
			r.backoff.reset()
		}
	}
	return r.watch(ctx, load.GetLoadId())
}

func (r *loadRun) watch(ctx context.Context, loadID string) (*loaderv1.Load, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.client.Loads.WatchLoad(
		ctx, &loaderv1.WatchLoadRequest{LoadId: loadID, AfterSequence: r.sequence},
	)
	if err != nil {
		return nil, err
	}
	for {
		event, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		r.backoff.reset()
		r.sequence = max(r.sequence, event.GetSequence())
		if file := event.GetFile(); file != nil && r.progress != nil {
			r.progress(file)
		}
		if ended := event.GetEnded(); ended != nil {
			return ended, nil
		}
	}
}

// upload sends one file, or withdraws it when it cannot be read any more, so that the load goes on without it.
func (r *loadRun) upload(ctx context.Context, loadID, name string) error {
	header := &loaderv1.UploadFileRequest_Header{LoadId: loadID, Name: name}
	content, err := r.files[name].Open()
	if err != nil {
		header.WithdrawalReason = unreadable(err)
		return r.send(ctx, header, nil)
	}
	defer func() { _ = content.Close() }()
	err = r.send(ctx, header, content)
	var failed *readError
	if errors.As(err, &failed) {
		header.WithdrawalReason = unreadable(failed.cause)
		return r.send(ctx, header, nil)
	}
	return err
}

// unreadable returns the reason to withdraw a file, in at most as many characters as the Loader takes.
func unreadable(err error) string {
	reason := []rune(fmt.Sprintf("cannot be read: %v", err))
	return string(reason[:min(len(reason), maxReason)])
}

// readError is a failure of the caller's file, not of the service.
type readError struct{ cause error }

func (e *readError) Error() string { return e.cause.Error() }

func (r *loadRun) send(ctx context.Context, header *loaderv1.UploadFileRequest_Header, content io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.client.Loads.UploadFile(ctx)
	if err != nil {
		return err
	}
	// A failed Send returns io.EOF; the reason comes with CloseAndRecv.
	sent := stream.Send(&loaderv1.UploadFileRequest{Piece: &loaderv1.UploadFileRequest_Header_{Header: header}})
	for content != nil && sent == nil {
		chunk := make([]byte, chunkBytes) // gRPC may keep it for a retry
		count, err := io.ReadFull(content, chunk)
		if count > 0 {
			sent = stream.Send(&loaderv1.UploadFileRequest{Piece: &loaderv1.UploadFileRequest_Chunk{Chunk: chunk[:count]}})
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return &readError{err}
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

func manifestOf(file File) (*loaderv1.FileManifest, error) {
	content, err := file.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }()
	hash := sha256.New()
	size, err := io.Copy(hash, content)
	if err != nil {
		return nil, err
	}
	return &loaderv1.FileManifest{Name: file.Name, Size: size, Sha256: hex.EncodeToString(hash.Sum(nil))}, nil
}
