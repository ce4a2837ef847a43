package memgpt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	loaderv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/loader/v1"
)

// fakeLoader stops in the middle of the first upload.
type fakeLoader struct {
	loaderv1.UnimplementedLoaderServiceServer
	created  []*loaderv1.CreateLoadRequest
	uploads  int
	received []byte

	withdrawn string
}

func (f *fakeLoader) load(state loaderv1.FileState) *loaderv1.Load {
	file := &loaderv1.LoadFile{Manifest: f.created[0].GetFiles()[0], State: state}
	return &loaderv1.Load{LoadId: "load_1", Files: []*loaderv1.LoadFile{file}}
}

func (f *fakeLoader) CreateLoad(_ context.Context, request *loaderv1.CreateLoadRequest) (*loaderv1.CreateLoadResponse, error) {
	f.created = append(f.created, request)
	return &loaderv1.CreateLoadResponse{Load: f.load(loaderv1.FileState_FILE_STATE_AWAITING_UPLOAD)}, nil
}

func (f *fakeLoader) UploadFile(stream grpc.ClientStreamingServer[loaderv1.UploadFileRequest, loaderv1.UploadFileResponse]) error {
	f.uploads++
	f.received = nil
	for {
		request, err := stream.Recv()
		if err == io.EOF {
			return stream.SendAndClose(&loaderv1.UploadFileResponse{})
		}
		if err != nil {
			return err
		}
		f.withdrawn += request.GetHeader().GetWithdrawalReason()
		f.received = append(f.received, request.GetChunk()...)
		if f.uploads == 1 && len(f.received) > 0 {
			return refusal(codes.Unavailable, "SHUTTING_DOWN")
		}
	}
}

func (f *fakeLoader) WatchLoad(_ *loaderv1.WatchLoadRequest, stream grpc.ServerStreamingServer[loaderv1.WatchLoadResponse]) error {
	ended := &loaderv1.WatchLoadResponse_Ended{Ended: f.load(loaderv1.FileState_FILE_STATE_LOADED)}
	return stream.Send(&loaderv1.WatchLoadResponse{Sequence: 1, Event: ended})
}

// loaderClient returns a client of a Loader on a real socket.
func loaderClient(t *testing.T, fake *fakeLoader) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	loaderv1.RegisterLoaderServiceServer(server, fake)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	client, err := Dial(Addresses{Loader: listener.Addr().String()}, WithResumeTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestAFileThatDisappearsIsWithdrawn(t *testing.T) {
	fake := &fakeLoader{uploads: 1}
	client := loaderClient(t, fake)
	opened := 0
	file := File{Name: "a.txt", Open: func() (io.ReadCloser, error) {
		if opened++; opened > 1 {
			return nil, errors.New(strings.Repeat("gone ", 1000))
		}
		return io.NopCloser(strings.NewReader("text")), nil
	}}
	if _, err := client.Load(t.Context(), &loaderv1.CreateLoadRequest{}, []File{file}, nil); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(fake.withdrawn, "cannot be read: gone ") || len(fake.withdrawn) > 1000 {
		t.Errorf("withdrawn with %d characters: %.40q", len(fake.withdrawn), fake.withdrawn)
	}
}

func TestAnUploadThatBreaksIsSentAgainInFull(t *testing.T) {
	fake := &fakeLoader{}
	client := loaderClient(t, fake)
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	file := File{Name: "a.txt", Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
	load, err := client.Load(t.Context(), &loaderv1.CreateLoadRequest{}, []File{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if state := load.GetFiles()[0].GetState(); state != loaderv1.FileState_FILE_STATE_LOADED {
		t.Errorf("state %v", state)
	}
	if fake.uploads != 2 || !bytes.Equal(fake.received, content) {
		t.Errorf("%d uploads, %d bytes", fake.uploads, len(fake.received))
	}
	if first, second := fake.created[0].GetRequestId(), fake.created[1].GetRequestId(); first == "" || first != second {
		t.Errorf("request ids %q and %q", first, second)
	}
}
