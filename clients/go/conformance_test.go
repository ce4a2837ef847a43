package memgpt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	agentv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/agent/v1"
	loaderv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/loader/v1"
	memoryv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/memory/v1"
)

// step is one entry of the scenario; see clients/conformance/README.md.
type step struct {
	Name           string
	Call           string
	Request        map[string]any
	Turn           map[string]any
	Load           map[string]any
	Pages          map[string]any
	During         string
	Credential     *string
	TimeoutSeconds float64
	Expect         map[string]any
	Save           map[string]string
	Error          *struct {
		Code       string
		Reason     string
		Metadata   map[string]string
		Violations []string
	}
}

type runner struct {
	addresses Addresses
	control   string
	saved     map[string]string

	// By credential.
	clients map[string]*Client
}

func TestConformance(t *testing.T) {
	path := os.Getenv("MEMGPT_CONFORMANCE")
	if path == "" {
		t.Skip("MEMGPT_CONFORMANCE is not set; run make conformance")
	}
	var config struct{ Agent, Loader, Memory, Control, Run, Scenario, Results, Key string }
	readJSON(t, path, &config)
	var scenario struct{ Steps []step }
	readJSON(t, config.Scenario, &scenario)
	addresses := Addresses{Agent: config.Agent, Loader: config.Loader, Memory: config.Memory}
	r := &runner{addresses: addresses, control: config.Control, clients: map[string]*Client{}, saved: map[string]string{
		"run": config.Run, "key": config.Key,
	}}
	defer func() {
		for _, client := range r.clients {
			_ = client.Close()
		}
	}()
	results, err := os.Create(config.Results)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = results.Close() }()
	for _, each := range scenario.Steps {
		problem := r.run(t.Context(), each)
		line, _ := json.Marshal(map[string]string{"name": each.Name, "problem": problem})
		if _, err := fmt.Fprintf(results, "%s\n", line); err != nil {
			t.Fatal(err)
		}
		if problem != "" {
			t.Errorf("%s: %s", each.Name, problem)
		}
	}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(content, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// run executes a step and returns what is wrong, or "".
func (r *runner) run(ctx context.Context, s step) string {
	result, err := r.execute(ctx, s)
	if s.Error != nil {
		return r.compareError(s, err)
	}
	if err != nil {
		return err.Error()
	}
	for path, expected := range s.Expect {
		if problem := compare(result, path, r.fill(expected)); problem != "" {
			return problem
		}
	}
	for name, path := range s.Save {
		r.saved[name] = fmt.Sprint(lookUp(result, path))
	}
	return ""
}

func (r *runner) execute(ctx context.Context, s step) (any, error) {
	credential := "${key}"
	if s.Credential != nil {
		credential = *s.Credential
	}
	client, err := r.client(r.fill(credential).(string))
	if err != nil {
		return nil, err
	}
	switch {
	case s.Turn != nil:
		return r.turn(ctx, client, s)
	case s.Load != nil:
		return r.load(ctx, client, s.Load)
	case s.Pages != nil:
		return r.pages(ctx, client, s.Pages)
	}
	if s.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(s.TimeoutSeconds*float64(time.Second)))
		defer cancel()
	}
	return r.call(ctx, client, s.Call, s.Request)
}

// client returns the client with a credential; "" for none.
func (r *runner) client(credential string) (*Client, error) {
	if known := r.clients[credential]; known != nil {
		return known, nil
	}
	var opts []Option
	if credential != "" {
		opts = append(opts, WithToken(credential))
	}
	client, err := Dial(r.addresses, opts...)
	if err == nil {
		r.clients[credential] = client
	}
	return client, err
}

// call makes a unary call by the descriptors of the generated code.
func (r *runner) call(ctx context.Context, client *Client, name string, fields map[string]any) (any, error) {
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.Replace(name, "/", ".", 1)))
	if err != nil {
		return nil, err
	}
	method := found.(protoreflect.MethodDescriptor)
	request, err := newMessage(method.Input())
	if err != nil {
		return nil, err
	}
	response, err := newMessage(method.Output())
	if err != nil {
		return nil, err
	}
	if err := r.unmarshal(fields, request); err != nil {
		return nil, err
	}
	connection := client.connections[map[string]int{"agent": 0, "common": 0, "loader": 1, "memory": 2}[strings.Split(name, ".")[1]]]
	if err := connection.Invoke(ctx, "/"+name, request, response); err != nil {
		return nil, err
	}
	return toJSON(response)
}

func newMessage(descriptor protoreflect.MessageDescriptor) (proto.Message, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.FullName())
	if err != nil {
		return nil, err
	}
	return kind.New().Interface(), nil
}

func (r *runner) turn(ctx context.Context, client *Client, s step) (any, error) {
	request := &agentv1.SendMessageRequest{}
	if err := r.unmarshal(s.Turn, request); err != nil {
		return nil, err
	}
	turn := client.Send(ctx, request)
	during := s.During
	result := map[string]any{"sequencesAscend": true}
	var messages, functions []any
	var deltas strings.Builder
	last := request.GetAfterSequence()
	for event, err := range turn.Events() {
		if err != nil {
			return nil, err
		}
		if sequence := event.GetSequence(); sequence > 0 {
			if _, known := result["firstSequence"]; !known {
				result["firstSequence"] = strconv.FormatInt(sequence, 10)
			}
			result["sequencesAscend"] = result["sequencesAscend"].(bool) && sequence == last+1
			last = sequence
		}
		switch {
		case event.GetMessage() != nil:
			messages = append(messages, event.GetMessage().GetText())
		case event.GetFunctionCall() != nil:
			functions = append(functions, event.GetFunctionCall().GetName())
		case event.GetDelta().GetKind() == agentv1.DeltaKind_DELTA_KIND_MESSAGE:
			deltas.WriteString(event.GetDelta().GetText())
		}
		if during != "" && event.GetSequence() > 0 && event.GetStep() > 0 {
			if err := r.interfere(ctx, turn, during); err != nil {
				return nil, err
			}
			during = ""
		}
	}
	result["messages"], result["functions"], result["deltas"] = messages, functions, deltas.String()
	result["state"] = turn.Done().GetState().String()
	return result, nil
}

func (r *runner) interfere(ctx context.Context, turn *Turn, during string) error {
	if during == "cancel" {
		_, err := turn.Cancel(ctx)
		return err
	}
	response, err := http.Post(r.control+"/"+during, "", nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s: %s", during, response.Status)
	}
	return nil
}

func (r *runner) load(ctx context.Context, client *Client, fields map[string]any) (any, error) {
	var files []File
	for _, each := range r.fill(fields["files"]).([]any) {
		name, text := lookUp(each, "name").(string), lookUp(each, "text").(string)
		files = append(files, File{Name: name, Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(text)), nil
		}})
	}
	source := r.fill(fields["sourceName"]).(string)
	request := &loaderv1.CreateLoadRequest{Source: &loaderv1.CreateLoadRequest_SourceName{SourceName: source}}
	load, err := client.Load(ctx, request, files, nil)
	if err != nil {
		return nil, err
	}
	return toJSON(load)
}

func (r *runner) pages(ctx context.Context, client *Client, fields map[string]any) (any, error) {
	request := fields["request"].(map[string]any)
	distinct := map[string]bool{}
	var ids []any
	count := 0
	for token := any(""); token != nil; count++ {
		page := map[string]any{"pageToken": token}
		for key, value := range request {
			page[key] = value
		}
		response, err := r.call(ctx, client, fields["call"].(string), page)
		if err != nil {
			return nil, err
		}
		items, _ := lookUp(response, fields["items"].(string)).([]any)
		for _, item := range items {
			id := fmt.Sprint(lookUp(item, fields["id"].(string)))
			distinct[id] = true
			ids = append(ids, id)
		}
		token = lookUp(response, "nextPageToken")
	}
	return map[string]any{
		"total": float64(len(ids)), "distinct": float64(len(distinct)), "pages": float64(count), "ids": ids,
	}, nil
}

func (r *runner) compareError(s step, err error) string {
	if err == nil {
		return "expected " + s.Error.Code
	}
	var code codes.Code
	if err := code.UnmarshalJSON([]byte(strconv.Quote(s.Error.Code))); err != nil {
		return err.Error()
	}
	if status.Code(err) != code {
		return fmt.Sprintf("expected %s, got %v", s.Error.Code, err)
	}
	if s.Error.Reason != "" && Reason(err).String() != "ERROR_REASON_"+s.Error.Reason {
		return fmt.Sprintf("expected reason %s, got %s", s.Error.Reason, Reason(err))
	}
	var violations []string
	for _, violation := range FieldViolations(err) {
		violations = append(violations, violation.GetField())
	}
	slices.Sort(violations)
	if expected := s.Error.Violations; expected != nil && !slices.Equal(violations, expected) {
		return fmt.Sprintf("expected violations of %v, got %v", expected, violations)
	}
	for key, value := range s.Error.Metadata {
		if expected := r.fill(value); Metadata(err)[key] != expected {
			return fmt.Sprintf("expected metadata %s=%v, got %v", key, expected, Metadata(err))
		}
	}
	return ""
}

func (r *runner) unmarshal(fields map[string]any, into proto.Message) error {
	encoded, err := json.Marshal(r.fill(fields))
	if err != nil {
		return err
	}
	return protojson.Unmarshal(encoded, into)
}

var variable = regexp.MustCompile(`\$\{(\w+)\}`)

// fill replaces the saved values in a tree of JSON.
func (r *runner) fill(value any) any {
	switch typed := value.(type) {
	case string:
		return variable.ReplaceAllStringFunc(typed, func(found string) string { return r.saved[found[2:len(found)-1]] })
	case map[string]any:
		filled := make(map[string]any, len(typed))
		for key, each := range typed {
			filled[key] = r.fill(each)
		}
		return filled
	case []any:
		filled := make([]any, len(typed))
		for index, each := range typed {
			filled[index] = r.fill(each)
		}
		return filled
	}
	return value
}

func compare(result any, path string, expected any) string {
	if path == "contains" {
		if ids, _ := lookUp(result, "ids").([]any); !slices.Contains(ids, expected) {
			return fmt.Sprintf("%v is not among the ids", expected)
		}
		return ""
	}
	if got := lookUp(result, path); !reflect.DeepEqual(got, expected) {
		return fmt.Sprintf("%s: expected %v, got %v", path, expected, got)
	}
	return ""
}

// lookUp follows a path such as "hits.0.rank" in a tree of JSON; nil if it leads nowhere.
func lookUp(value any, path string) any {
	for _, key := range strings.Split(path, ".") {
		switch typed := value.(type) {
		case map[string]any:
			value = typed[key]
		case []any:
			index, err := strconv.Atoi(key)
			if err != nil || index >= len(typed) {
				return nil
			}
			value = typed[index]
		default:
			return nil
		}
	}
	return value
}

func toJSON(message proto.Message) (any, error) {
	encoded, err := protojson.Marshal(message)
	if err != nil {
		return nil, err
	}
	var decoded any
	err = json.NewDecoder(bytes.NewReader(encoded)).Decode(&decoded)
	return decoded, err
}

// The descriptors of every service must be linked in for calls by name.
var _ = memoryv1.File_memgpt_memory_v1_archival_memory_service_proto
