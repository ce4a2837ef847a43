// A tool server in JavaScript: rolls dice for agents. Reads the contract itself, so that no stubs are generated.
//
//     npm install && node server.mjs 127.0.0.1:6000
import { randomInt } from "node:crypto";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const proto = fileURLToPath(new URL("../../../protos/memgpt/tool/v1/tool_service.proto", import.meta.url));
const { ToolService } = grpc.loadPackageDefinition(loadSync(proto, { keepCase: true })).memgpt.tool.v1;

const rollDice = {
  name: "roll_dice",
  description: "Rolls dice and tells what each of them shows.",
  parameters: JSON.stringify({
    type: "object",
    properties: {
      count: { type: "integer", minimum: 1, maximum: 20, description: "How many dice." },
      sides: { type: "integer", minimum: 2, maximum: 100, description: "Sides of each; 6 if unset." },
    },
    required: ["count"],
  }),
};

// What makes a repeated call harmless. A tool that changes something keeps this where it keeps that.
const answers = new Map();

const server = new grpc.Server();
server.addService(ToolService.service, {
  ListTools: (call, reply) => reply(null, { tools: [rollDice] }),
  CallTool: ({ request }, reply) => {
    if (request.name !== rollDice.name) {
      return reply({ code: grpc.status.NOT_FOUND, details: `there is no function ${request.name}` });
    }
    if (!answers.has(request.idempotency_key)) {
      const { count, sides = 6 } = JSON.parse(request.arguments); // Fits the schema: the Agent has checked it.
      const rolled = Array.from({ length: count }, () => randomInt(1, sides + 1));
      answers.set(request.idempotency_key, { result: JSON.stringify(rolled) });
    }
    reply(null, answers.get(request.idempotency_key));
  },
});
server.bindAsync(process.argv[2] ?? "127.0.0.1:6000", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`listening on port ${port}`);
});
