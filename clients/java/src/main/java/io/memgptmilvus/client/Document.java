package io.memgptmilvus.client;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * A document to load.
 *
 * @param name its label within the source
 * @param content opens its bytes from the start; called twice or more: for the hash, and for each upload
 */
public record Document(String name, Content content) {
  /** Opens the bytes of a document. */
  @FunctionalInterface
  public interface Content {
    /**
     * Opens the bytes from the start.
     *
     * @return the bytes; the caller closes it
     * @throws IOException if they cannot be read
     */
    InputStream open() throws IOException;
  }

  /**
   * Returns the document at a path.
   *
   * @param path a file
   * @return the document, under the file's own name
   */
  public static Document at(Path path) {
    return new Document(path.getFileName().toString(), () -> Files.newInputStream(path));
  }

  /**
   * Returns a document in memory.
   *
   * @param name its label within the source
   * @param bytes its content
   * @return the document
   */
  public static Document of(String name, byte[] bytes) {
    return new Document(name, () -> new ByteArrayInputStream(bytes));
  }
}
