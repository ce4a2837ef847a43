package io.memgptmilvus.client;

import com.google.protobuf.ByteString;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import io.memgptmilvus.loader.v1.CreateLoadRequest;
import io.memgptmilvus.loader.v1.FileManifest;
import io.memgptmilvus.loader.v1.FileState;
import io.memgptmilvus.loader.v1.Load;
import io.memgptmilvus.loader.v1.LoadFile;
import io.memgptmilvus.loader.v1.LoaderServiceGrpc.LoaderServiceBlockingStub;
import io.memgptmilvus.loader.v1.LoaderServiceGrpc.LoaderServiceStub;
import io.memgptmilvus.loader.v1.UploadFileRequest;
import io.memgptmilvus.loader.v1.UploadFileResponse;
import io.memgptmilvus.loader.v1.WatchLoadRequest;
import io.memgptmilvus.loader.v1.WatchLoadResponse;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.Consumer;

/** A load from its creation to its end, through interruptions of the Loader and of the connection. */
final class LoadRun {
  private static final int CHUNK_BYTES = 64 << 10;
  private static final int MAX_REASON_LENGTH = 1000;

  private final LoaderServiceBlockingStub loads;
  private final LoaderServiceStub uploads;
  private final Map<String, Document> documents = new LinkedHashMap<>();
  private final CreateLoadRequest request;
  private final Consumer<LoadFile> progress;
  private final Backoff backoff;
  private long sequence;

  LoadRun(
      LoaderServiceBlockingStub loads,
      LoaderServiceStub uploads,
      CreateLoadRequest request,
      List<Document> documents,
      Consumer<LoadFile> progress,
      Backoff backoff)
      throws IOException {
    this.loads = loads;
    this.uploads = uploads;
    this.progress = progress;
    this.backoff = backoff;
    CreateLoadRequest.Builder builder = request.toBuilder().clearFiles();
    if (request.getRequestId().isEmpty()) {
      builder.setRequestId(RequestIds.create());
    }
    for (Document document : documents) {
      this.documents.put(document.name(), document);
      builder.addFiles(manifest(document));
    }
    this.request = builder.build();
  }

  Load toEnd() {
    while (true) {
      try {
        return attempt();
      } catch (StatusRuntimeException error) {
        backoff.await(error, Errors.isInterruption(error) && !Context.current().isCancelled());
      }
    }
  }

  /** Creates the load, or finds it as it is now, sends what is wanted, and follows it to its end. */
  private Load attempt() {
    Load load = loads.createLoad(request).getLoad();
    for (LoadFile file : load.getFilesList()) {
      if (file.getState() == FileState.FILE_STATE_AWAITING_UPLOAD) {
        upload(load.getLoadId(), file.getManifest().getName());
        backoff.reset();
      }
    }
    WatchLoadRequest watch =
        WatchLoadRequest.newBuilder().setLoadId(load.getLoadId()).setAfterSequence(sequence).build();
    try (Context.CancellableContext context = Context.current().withCancellation()) {
      Context previous = context.attach();
      Iterator<WatchLoadResponse> events;
      try {
        events = loads.watchLoad(watch);
      } finally {
        context.detach(previous);
      }
      while (events.hasNext()) {
        WatchLoadResponse event = events.next();
        backoff.reset();
        sequence = Math.max(sequence, event.getSequence());
        if (event.hasFile()) {
          progress.accept(event.getFile());
        }
        if (event.hasEnded()) {
          return event.getEnded();
        }
      }
    }
    throw Status.UNAVAILABLE.withDescription("the load's stream ended before its last event").asRuntimeException();
  }

  /** Sends one file, or withdraws it when it cannot be read any more, so that the load goes on without it. */
  private void upload(String loadId, String name) {
    UploadFileRequest.Header header = UploadFileRequest.Header.newBuilder().setLoadId(loadId).setName(name).build();
    try (InputStream content = documents.get(name).content().open()) {
      send(header, content);
    } catch (IOException | UncheckedIOException unreadable) {
      String reason = "cannot be read: " + unreadable.getMessage();
      reason = reason.substring(0, Math.min(reason.length(), MAX_REASON_LENGTH));
      send(header.toBuilder().setWithdrawalReason(reason).build(), InputStream.nullInputStream());
    }
  }

  private void send(UploadFileRequest.Header header, InputStream content) {
    Upload upload = new Upload(header, content);
    uploads.uploadFile(upload);
    try {
      upload.response.join();
    } catch (CompletionException failed) {
      if (failed.getCause() instanceof RuntimeException cause) {
        throw cause;
      }
      throw failed;
    }
  }

  /** Sends the pieces of a file as fast as the Loader takes them. */
  private static final class Upload implements ClientResponseObserver<UploadFileRequest, UploadFileResponse> {
    private final UploadFileRequest.Header header;
    private final InputStream content;
    private final CompletableFuture<UploadFileResponse> response = new CompletableFuture<>();
    private boolean begun;
    private boolean ended;

    Upload(UploadFileRequest.Header header, InputStream content) {
      this.header = header;
      this.content = content;
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<UploadFileRequest> requests) {
      requests.setOnReadyHandler(() -> sendWhileReady(requests));
    }

    private void sendWhileReady(ClientCallStreamObserver<UploadFileRequest> requests) {
      try {
        if (!begun) {
          begun = true;
          requests.onNext(UploadFileRequest.newBuilder().setHeader(header).build());
        }
        while (requests.isReady() && !ended) {
          byte[] chunk = content.readNBytes(CHUNK_BYTES);
          if (chunk.length == 0) {
            ended = true;
            requests.onCompleted();
          } else {
            requests.onNext(UploadFileRequest.newBuilder().setChunk(ByteString.copyFrom(chunk)).build());
          }
        }
      } catch (IOException unreadable) {
        ended = true;
        response.completeExceptionally(new UncheckedIOException(unreadable));
        requests.cancel("the file cannot be read", unreadable);
      }
    }

    @Override
    public void onNext(UploadFileResponse value) {
      response.complete(value);
    }

    @Override
    public void onError(Throwable error) {
      response.completeExceptionally(error);
    }

    @Override
    public void onCompleted() {
      response.completeExceptionally(Status.INTERNAL.withDescription("no response").asRuntimeException());
    }
  }

  private static FileManifest manifest(Document document) throws IOException {
    try (InputStream content = document.content().open()) {
      MessageDigest hash = MessageDigest.getInstance("SHA-256");
      byte[] buffer = new byte[CHUNK_BYTES];
      long size = 0;
      for (int count = content.read(buffer); count >= 0; count = content.read(buffer)) {
        hash.update(buffer, 0, count);
        size += count;
      }
      String digest = HexFormat.of().formatHex(hash.digest());
      return FileManifest.newBuilder().setName(document.name()).setSize(size).setSha256(digest).build();
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException("every Java platform has SHA-256", impossible);
    }
  }
}
