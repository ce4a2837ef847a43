// Package memgpt is a client of the MemGPT on Milvus services.
//
// It adds to the generated stubs (packages agentv1, loaderv1 and memoryv1 below this module) what every caller needs: turns
// that resume when a stream breaks, pages as iterators, uploads that resume, typed errors, and connections with deadlines,
// keepalive, message limits, and retries already set.
//
//	client, err := memgpt.Dial(memgpt.Addresses{Agent: "localhost:50051", Loader: "localhost:50053"})
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//	turn := client.Send(ctx, &agentv1.SendMessageRequest{
//		AgentId: agentID,
//		Input:   &agentv1.SendMessageRequest_Text{Text: "What is MemGPT?"},
//	})
//	for event, err := range turn.Events() {
//		if err != nil {
//			return err
//		}
//		if message := event.GetMessage(); message != nil {
//			fmt.Println(message.GetText())
//		}
//	}
package memgpt
