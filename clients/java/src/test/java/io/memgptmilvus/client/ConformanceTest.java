package io.memgptmilvus.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.Descriptors.MethodDescriptor;
import com.google.protobuf.Descriptors.ServiceDescriptor;
import com.google.protobuf.DynamicMessage;
import com.google.protobuf.ListValue;
import com.google.protobuf.Message;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.BadRequest;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.memgptmilvus.agent.v1.AgentServiceProto;
import io.memgptmilvus.agent.v1.DeltaKind;
import io.memgptmilvus.agent.v1.SendMessageRequest;
import io.memgptmilvus.agent.v1.TurnEvent;
import io.memgptmilvus.common.v1.IdentityServiceProto;
import io.memgptmilvus.loader.v1.CreateLoadRequest;
import io.memgptmilvus.loader.v1.LoaderServiceProto;
import io.memgptmilvus.memory.v1.ApiKeyServiceProto;
import io.memgptmilvus.memory.v1.ArchivalMemoryServiceProto;
import io.memgptmilvus.memory.v1.RecallMemoryServiceProto;
import io.memgptmilvus.memory.v1.SharedBlockServiceProto;
import io.memgptmilvus.memory.v1.TenantServiceProto;
import io.memgptmilvus.memory.v1.TurnState;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;

/** Runs the conformance scenario; see clients/conformance/README.md. JSON is read as protobuf's {@code Struct}. */
@EnabledIfEnvironmentVariable(named = "MEMGPT_CONFORMANCE", matches = ".+", disabledReason = "run make conformance")
class ConformanceTest {
  private static final List<FileDescriptor> FILES =
      List.of(
          AgentServiceProto.getDescriptor(),
          IdentityServiceProto.getDescriptor(),
          ApiKeyServiceProto.getDescriptor(),
          TenantServiceProto.getDescriptor(),
          LoaderServiceProto.getDescriptor(),
          ArchivalMemoryServiceProto.getDescriptor(),
          RecallMemoryServiceProto.getDescriptor(),
          SharedBlockServiceProto.getDescriptor());
  private static final Pattern VARIABLE = Pattern.compile("\\$\\{(\\w+)}");

  private final Map<String, String> saved = new HashMap<>();
  private final Map<String, MemGPT> clients = new HashMap<>();
  private Struct config;

  /** Runs the scenario without Maven, which {@code clients/conformance} does. */
  public static void main(String[] arguments) throws Exception {
    new ConformanceTest().everyStepPasses();
  }

  @Test
  void everyStepPasses() throws Exception {
    config = readJson(Path.of(System.getenv("MEMGPT_CONFORMANCE")));
    saved.put("run", setting("run"));
    saved.put("key", setting("key"));
    Path results = Files.writeString(Path.of(setting("results")), "");
    List<String> problems = new ArrayList<>();
    try {
      for (Value step : readJson(Path.of(setting("scenario"))).getFieldsOrThrow("steps").getListValue().getValuesList()) {
        String name = text(step, "name");
        String problem = run(step);
        Struct line = Struct.newBuilder().putFields("name", value(name)).putFields("problem", value(problem)).build();
        String printed = JsonFormat.printer().omittingInsignificantWhitespace().print(line);
        Files.writeString(results, printed + "\n", StandardOpenOption.APPEND);
        if (!problem.isEmpty()) {
          problems.add(name + ": " + problem);
        }
      }
    } finally {
      clients.values().forEach(MemGPT::close);
    }
    assertEquals(List.of(), problems);
  }

  /** Executes a step and returns what is wrong, or "". */
  private String run(Value step) {
    Value result;
    try {
      result = execute(step);
    } catch (StatusRuntimeException error) {
      return find(step, "error") == null ? error.toString() : compareError(find(step, "error"), error);
    } catch (IOException | InterruptedException error) {
      return error.toString();
    }
    if (find(step, "error") != null) {
      return "expected " + text(step, "error.code");
    }
    for (Map.Entry<String, Value> expected : fields(step, "expect").entrySet()) {
      String problem = compare(result, expected.getKey(), fill(expected.getValue()));
      if (!problem.isEmpty()) {
        return problem;
      }
    }
    fields(step, "save").forEach((name, path) -> saved.put(name, text(result, path.getStringValue())));
    return "";
  }

  private Value execute(Value step) throws IOException, InterruptedException {
    Value credential = find(step, "credential");
    MemGPT memgpt = client(fill(credential == null ? value("${key}") : credential).getStringValue());
    if (find(step, "turn") != null) {
      return turn(memgpt, fill(find(step, "turn")), find(step, "during") == null ? "" : text(step, "during"));
    }
    if (find(step, "load") != null) {
      return load(memgpt, fill(find(step, "load")));
    }
    if (find(step, "pages") != null) {
      return pages(memgpt, find(step, "pages"));
    }
    Value timeout = find(step, "timeoutSeconds");
    return call(memgpt, text(step, "call"), find(step, "request"), timeout == null ? 60 : timeout.getNumberValue());
  }

  /** Returns the client with a credential; "" for none. */
  private MemGPT client(String credential) {
    return clients.computeIfAbsent(
        credential,
        token -> {
          MemGPT.Builder builder = MemGPT.builder();
          builder.agent(setting("agent")).loader(setting("loader")).memory(setting("memory"));
          return token.isEmpty() ? builder.build() : builder.token(token).build();
        });
  }

  private static Channel channel(MemGPT memgpt, String method) {
    return switch (method.split("\\.")[1]) {
      case "loader" -> memgpt.loads().getChannel();
      case "memory" -> memgpt.archive().getChannel();
      default -> memgpt.agents().getChannel();
    };
  }

  /** Makes a unary call by the descriptors of the generated code. */
  private Value call(MemGPT memgpt, String name, Value request, double seconds) throws IOException {
    MethodDescriptor method = method(name);
    DynamicMessage.Builder message = DynamicMessage.newBuilder(method.getInputType());
    JsonFormat.parser().merge(JsonFormat.printer().print(fill(request)), message);
    Message response =
        ClientCalls.blockingUnaryCall(
            channel(memgpt, name),
            io.grpc.MethodDescriptor.<Message, Message>newBuilder()
                .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
                .setFullMethodName(name)
                .setRequestMarshaller(ProtoUtils.marshaller(DynamicMessage.getDefaultInstance(method.getInputType())))
                .setResponseMarshaller(ProtoUtils.marshaller(DynamicMessage.getDefaultInstance(method.getOutputType())))
                .build(),
            CallOptions.DEFAULT.withDeadlineAfter((long) (seconds * 1e9), TimeUnit.NANOSECONDS),
            message.build());
    return json(response);
  }

  private static MethodDescriptor method(String name) {
    String[] parts = name.split("/");
    for (FileDescriptor file : FILES) {
      for (ServiceDescriptor service : file.getServices()) {
        if (service.getFullName().equals(parts[0])) {
          return service.findMethodByName(parts[1]);
        }
      }
    }
    throw new IllegalArgumentException("unknown method " + name);
  }

  private Value turn(MemGPT memgpt, Value fields, String during) throws IOException, InterruptedException {
    SendMessageRequest.Builder request = SendMessageRequest.newBuilder();
    JsonFormat.parser().merge(JsonFormat.printer().print(fields), request);
    ListValue.Builder messages = ListValue.newBuilder();
    ListValue.Builder functions = ListValue.newBuilder();
    StringBuilder deltas = new StringBuilder();
    Struct.Builder result = Struct.newBuilder();
    boolean ascend = true;
    long last = request.getAfterSequence();
    try (Turn turn = memgpt.send(request.build())) {
      for (TurnEvent event : turn) {
        if (event.getSequence() > 0) {
          if (!result.containsFields("firstSequence")) {
            result.putFields("firstSequence", value(Long.toString(event.getSequence())));
          }
          ascend &= event.getSequence() == last + 1;
          last = event.getSequence();
        }
        if (event.hasMessage()) {
          messages.addValues(value(event.getMessage().getText()));
        } else if (event.hasFunctionCall()) {
          functions.addValues(value(event.getFunctionCall().getName()));
        } else if (event.hasDelta() && event.getDelta().getKind() == DeltaKind.DELTA_KIND_MESSAGE) {
          deltas.append(event.getDelta().getText());
        }
        if (!during.isEmpty() && event.getSequence() > 0 && event.getStep() > 0) {
          interfere(turn, during);
          during = "";
        }
      }
      TurnState state = turn.done().orElseThrow().getState();
      result.putFields("state", value(state.name()));
    }
    result.putFields("messages", Value.newBuilder().setListValue(messages).build());
    result.putFields("functions", Value.newBuilder().setListValue(functions).build());
    result.putFields("deltas", value(deltas.toString()));
    result.putFields("sequencesAscend", Value.newBuilder().setBoolValue(ascend).build());
    return Value.newBuilder().setStructValue(result).build();
  }

  private void interfere(Turn turn, String during) throws IOException, InterruptedException {
    if (during.equals("cancel")) {
      turn.cancel();
      return;
    }
    URI uri = URI.create(setting("control") + "/" + during);
    HttpRequest post = HttpRequest.newBuilder(uri).POST(HttpRequest.BodyPublishers.noBody()).build();
    assertEquals(204, HttpClient.newHttpClient().send(post, HttpResponse.BodyHandlers.discarding()).statusCode());
  }

  private Value load(MemGPT memgpt, Value fields) throws IOException {
    List<Document> documents = new ArrayList<>();
    for (Value file : find(fields, "files").getListValue().getValuesList()) {
      documents.add(Document.of(text(file, "name"), text(file, "text").getBytes(StandardCharsets.UTF_8)));
    }
    CreateLoadRequest request = CreateLoadRequest.newBuilder().setSourceName(text(fields, "sourceName")).build();
    return json(memgpt.load(request, documents, file -> {}));
  }

  private Value pages(MemGPT memgpt, Value fields) throws IOException {
    ListValue.Builder ids = ListValue.newBuilder();
    int pages = 0;
    for (Value token = value(""); token != null; pages++) {
      Struct request = find(fields, "request").getStructValue().toBuilder().putFields("pageToken", token).build();
      Value response = call(memgpt, text(fields, "call"), Value.newBuilder().setStructValue(request).build(), 60);
      Value items = find(response, text(fields, "items"));
      for (Value item : items == null ? List.<Value>of() : items.getListValue().getValuesList()) {
        ids.addValues(value(text(item, text(fields, "id"))));
      }
      token = find(response, "nextPageToken");
    }
    Struct.Builder result = Struct.newBuilder();
    result.putFields("total", number(ids.getValuesCount()));
    result.putFields("distinct", number(new HashSet<>(ids.getValuesList()).size()));
    result.putFields("pages", number(pages));
    result.putFields("ids", Value.newBuilder().setListValue(ids).build());
    return Value.newBuilder().setStructValue(result).build();
  }

  private String compareError(Value expected, StatusRuntimeException error) {
    if (error.getStatus().getCode() != Status.Code.valueOf(text(expected, "code"))) {
      return "expected " + text(expected, "code") + ", got " + error;
    }
    String reason = Errors.reasonOf(error).name();
    if (find(expected, "reason") != null && !reason.equals("ERROR_REASON_" + text(expected, "reason"))) {
      return "expected reason " + text(expected, "reason") + ", got " + reason;
    }
    ListValue.Builder violations = ListValue.newBuilder();
    Errors.fieldViolations(error).stream().map(BadRequest.FieldViolation::getField).sorted().map(ConformanceTest::value)
        .forEach(violations::addValues);
    if (find(expected, "violations") != null && !find(expected, "violations").getListValue().equals(violations.build())) {
      return "expected violations of " + find(expected, "violations") + ", got " + violations;
    }
    for (Map.Entry<String, Value> entry : fields(expected, "metadata").entrySet()) {
      String got = Errors.metadataOf(error).get(entry.getKey());
      if (!fill(entry.getValue()).getStringValue().equals(got)) {
        return "metadata " + entry.getKey() + " is " + got;
      }
    }
    return "";
  }

  private static String compare(Value result, String path, Value expected) {
    if (path.equals("contains")) {
      boolean contains = find(result, "ids").getListValue().getValuesList().contains(expected);
      return contains ? "" : expected.getStringValue() + " is not among the ids";
    }
    Value got = find(result, path);
    boolean equal = expected.hasNullValue() ? got == null : expected.equals(got);
    return equal ? "" : path + ": expected " + expected + ", got " + got;
  }

  /** Replaces the saved values in a tree of JSON. */
  private Value fill(Value value) {
    return switch (value.getKindCase()) {
      case STRING_VALUE -> value(VARIABLE.matcher(value.getStringValue())
          .replaceAll(found -> Matcher.quoteReplacement(saved.get(found.group(1)))));
      case STRUCT_VALUE -> {
        Struct.Builder filled = Struct.newBuilder();
        value.getStructValue().getFieldsMap().forEach((key, each) -> filled.putFields(key, fill(each)));
        yield Value.newBuilder().setStructValue(filled).build();
      }
      case LIST_VALUE -> {
        ListValue.Builder filled = ListValue.newBuilder();
        value.getListValue().getValuesList().forEach(each -> filled.addValues(fill(each)));
        yield Value.newBuilder().setListValue(filled).build();
      }
      default -> value;
    };
  }

  /** Follows a path such as "hits.0.rank" in a tree of JSON; null if it leads nowhere. */
  private static Value find(Value value, String path) {
    for (String key : path.split("\\.")) {
      if (value.hasListValue()) {
        List<Value> items = value.getListValue().getValuesList();
        value = Integer.parseInt(key) < items.size() ? items.get(Integer.parseInt(key)) : null;
      } else {
        value = value.getStructValue().getFieldsMap().get(key);
      }
      if (value == null) {
        return null;
      }
    }
    return value;
  }

  private static Map<String, Value> fields(Value value, String path) {
    Value found = find(value, path);
    return found == null ? Map.of() : found.getStructValue().getFieldsMap();
  }

  private static String text(Value value, String path) {
    return find(value, path).getStringValue();
  }

  private String setting(String name) {
    return config.getFieldsOrThrow(name).getStringValue();
  }

  private static Value value(String text) {
    return Value.newBuilder().setStringValue(text).build();
  }

  private static Value number(double number) {
    return Value.newBuilder().setNumberValue(number).build();
  }

  private static Value json(MessageOrBuilder message) throws IOException {
    Struct.Builder parsed = Struct.newBuilder();
    JsonFormat.parser().merge(JsonFormat.printer().print(message), parsed);
    return Value.newBuilder().setStructValue(parsed).build();
  }

  private static Struct readJson(Path path) throws IOException {
    Struct.Builder parsed = Struct.newBuilder();
    JsonFormat.parser().merge(Files.readString(path), parsed);
    return parsed.build();
  }
}
