/**
 * Client of the MemGPT on Milvus services: turns that resume, pages as iterators, loads, and typed errors on top of the generated
 * stubs.
 */
package io.memgptmilvus.client;
