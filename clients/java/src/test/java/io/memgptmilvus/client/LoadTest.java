package io.memgptmilvus.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import io.memgptmilvus.loader.v1.CreateLoadRequest;
import io.memgptmilvus.loader.v1.CreateLoadResponse;
import io.memgptmilvus.loader.v1.FileState;
import io.memgptmilvus.loader.v1.Load;
import io.memgptmilvus.loader.v1.LoadFile;
import io.memgptmilvus.loader.v1.LoaderServiceGrpc;
import io.memgptmilvus.loader.v1.UploadFileRequest;
import io.memgptmilvus.loader.v1.UploadFileResponse;
import io.memgptmilvus.loader.v1.WatchLoadRequest;
import io.memgptmilvus.loader.v1.WatchLoadResponse;
import java.io.ByteArrayOutputStream;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

class LoadTest {
  @Test
  void anUploadThatBreaksIsSentAgainInFull() throws Exception {
    FakeLoader fake = new FakeLoader();
    Server server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create()).addService(fake).build().start();
    byte[] content = new byte[1_000_000];
    for (int place = 0; place < content.length; place++) {
      content[place] = (byte) (place % 251);
    }
    try (MemGPT memgpt = MemGPT.builder().loader("localhost:" + server.getPort()).build()) {
      List<Document> documents = List.of(Document.of("a.txt", content));
      Load load = memgpt.load(CreateLoadRequest.getDefaultInstance(), documents, file -> {});
      assertEquals(FileState.FILE_STATE_LOADED, load.getFiles(0).getState());
    } finally {
      server.shutdownNow();
    }
    assertEquals(2, fake.uploads.size());
    assertArrayEquals(content, fake.uploads.get(1).toByteArray());
    assertEquals(2, fake.created.size());
    assertFalse(fake.created.get(0).getRequestId().isEmpty());
    assertEquals(fake.created.get(0), fake.created.get(1));
  }

  @Test
  @Timeout(60)
  void aLoadEndsWithTheContextOfItsCaller() throws Exception {
    FakeLoader fake = new FakeLoader();
    Server server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create()).addService(fake).build().start();
    Context.CancellableContext caller = Context.current().withCancellation();
    caller.cancel(null);
    try (MemGPT memgpt = MemGPT.builder().loader("localhost:" + server.getPort()).build()) {
      CreateLoadRequest request = CreateLoadRequest.getDefaultInstance();
      StatusRuntimeException error =
          assertThrows(
              StatusRuntimeException.class, () -> caller.call(() -> memgpt.load(request, List.of(), file -> {})));
      assertEquals(Status.Code.CANCELLED, error.getStatus().getCode());
    } finally {
      server.shutdownNow();
    }
  }

  /** A Loader that stops in the middle of the first upload. */
  private static final class FakeLoader extends LoaderServiceGrpc.LoaderServiceImplBase {
    private final List<CreateLoadRequest> created = new CopyOnWriteArrayList<>();
    private final List<ByteArrayOutputStream> uploads = new CopyOnWriteArrayList<>();

    private Load load(FileState state) {
      LoadFile file = LoadFile.newBuilder().setManifest(created.get(0).getFiles(0)).setState(state).build();
      return Load.newBuilder().setLoadId("load_1").addFiles(file).build();
    }

    @Override
    public void createLoad(CreateLoadRequest request, StreamObserver<CreateLoadResponse> responses) {
      created.add(request);
      responses.onNext(CreateLoadResponse.newBuilder().setLoad(load(FileState.FILE_STATE_AWAITING_UPLOAD)).build());
      responses.onCompleted();
    }

    @Override
    public StreamObserver<UploadFileRequest> uploadFile(StreamObserver<UploadFileResponse> responses) {
      ByteArrayOutputStream received = new ByteArrayOutputStream();
      uploads.add(received);
      boolean stops = uploads.size() == 1;
      return new StreamObserver<>() {
        private boolean stopped;

        @Override
        public void onNext(UploadFileRequest request) {
          received.writeBytes(request.getChunk().toByteArray());
          if (stops && received.size() > 0 && !stopped) {
            stopped = true;
            responses.onError(Status.UNAVAILABLE.asRuntimeException());
          }
        }

        @Override
        public void onError(Throwable error) {}

        @Override
        public void onCompleted() {
          if (!stopped) {
            responses.onNext(UploadFileResponse.getDefaultInstance());
            responses.onCompleted();
          }
        }
      };
    }

    @Override
    public void watchLoad(WatchLoadRequest request, StreamObserver<WatchLoadResponse> responses) {
      responses.onNext(WatchLoadResponse.newBuilder().setSequence(1).setEnded(load(FileState.FILE_STATE_LOADED)).build());
      responses.onCompleted();
    }
  }
}
