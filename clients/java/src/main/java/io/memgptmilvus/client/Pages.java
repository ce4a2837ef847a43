package io.memgptmilvus.client;

import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.function.Function;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * All items of a list or a ranking. Pages are fetched as they are needed; iterating again starts from the first page.
 *
 * @param <T> the items
 */
public final class Pages<T> implements Iterable<T> {
  /** One page: its items, and the token of the next one, empty at the end. */
  record Page<T>(List<T> items, String nextToken) {}

  private final Function<String, Page<T>> fetch;

  Pages(Function<String, Page<T>> fetch) {
    this.fetch = fetch;
  }

  @Override
  public Iterator<T> iterator() {
    return new Iterator<>() {
      private Page<T> page = fetch.apply("");
      private Iterator<T> items = page.items().iterator();

      @Override
      public boolean hasNext() {
        while (!items.hasNext() && !page.nextToken().isEmpty()) {
          page = fetch.apply(page.nextToken());
          items = page.items().iterator();
        }
        return items.hasNext();
      }

      @Override
      public T next() {
        if (!hasNext()) {
          throw new NoSuchElementException();
        }
        return items.next();
      }
    };
  }

  /**
   * Returns the items as a stream.
   *
   * @return a sequential stream, which fetches pages as they are needed
   */
  public Stream<T> stream() {
    return StreamSupport.stream(spliterator(), false);
  }
}
