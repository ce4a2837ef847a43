package memgpt

import (
	"context"
	"iter"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/agent/v1"
	memoryv1 "github.com/memgpt-milvus/memgpt-milvus/clients/go/memgpt/memory/v1"
)

// paged is a response that names the next page.
type paged interface{ GetNextPageToken() string }

// pages returns the items of all pages. An error is returned last. Pages are fetched as they are needed.
func pages[Response paged, Item any](
	fetch func(token string) (Response, error), items func(Response) []Item,
) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for token := ""; ; {
			response, err := fetch(token)
			if err != nil {
				var none Item
				yield(none, err)
				return
			}
			for _, item := range items(response) {
				if !yield(item, nil) {
					return
				}
			}
			if token = response.GetNextPageToken(); token == "" {
				return
			}
		}
	}
}

// SearchPassages returns the whole ranking, best first, to the last passage. The request's page size is the size of one fetch.
func (c *Client) SearchPassages(
	ctx context.Context, request *memoryv1.SearchPassagesRequest,
) iter.Seq2[*memoryv1.PassageHit, error] {
	request = proto.Clone(request).(*memoryv1.SearchPassagesRequest)
	return pages(func(token string) (*memoryv1.SearchPassagesResponse, error) {
		request.PageToken = token
		return c.Archive.SearchPassages(ctx, request)
	}, (*memoryv1.SearchPassagesResponse).GetHits)
}

// SearchMessages returns every message that matches.
func (c *Client) SearchMessages(
	ctx context.Context, request *memoryv1.SearchMessagesRequest,
) iter.Seq2[*memoryv1.Message, error] {
	request = proto.Clone(request).(*memoryv1.SearchMessagesRequest)
	return pages(func(token string) (*memoryv1.SearchMessagesResponse, error) {
		request.PageToken = token
		return c.Recall.SearchMessages(ctx, request)
	}, (*memoryv1.SearchMessagesResponse).GetMessages)
}

// ListAgents returns all agents in order of creation.
func (c *Client) ListAgents(ctx context.Context) iter.Seq2[*memoryv1.Agent, error] {
	return pages(func(token string) (*agentv1.ListAgentsResponse, error) {
		return c.Agents.ListAgents(ctx, &agentv1.ListAgentsRequest{PageToken: token})
	}, (*agentv1.ListAgentsResponse).GetAgents)
}

// ListSources returns all sources in order of creation.
func (c *Client) ListSources(ctx context.Context) iter.Seq2[*memoryv1.Source, error] {
	return pages(func(token string) (*agentv1.ListSourcesResponse, error) {
		return c.Agents.ListSources(ctx, &agentv1.ListSourcesRequest{PageToken: token})
	}, (*agentv1.ListSourcesResponse).GetSources)
}
