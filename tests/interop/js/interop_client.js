// The interop cases by @grpc/grpc-js: `node interop_client.js CASE TARGET [CA_FILE]`. Ends with 1
// and a line that says what was wrong.
"use strict";
const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [, , name, target, caFile] = process.argv;
const definition = loader.loadSync("grpc/testing/test.proto", {
  includeDirs: [path.join(__dirname, "proto")],
  keepCase: true,
});
const testing = grpc.loadPackageDefinition(definition).grpc.testing;
const credentials = caFile
  ? grpc.credentials.createSsl(fs.readFileSync(caFile))
  : grpc.credentials.createInsecure();
const client = new testing.TestService(target, credentials);
const other = new testing.UnimplementedService(target, credentials);
const compressed = new testing.TestService(target, credentials, {
  "grpc.default_compression_algorithm": 2,
});

const SIZES_IN = [27182, 8, 1828, 45904];
const SIZES_OUT = [31415, 9, 2653, 58979];
const deadline = () => ({ deadline: Date.now() + 30000 });
const large = (more) => ({
  response_size: 314159,
  payload: { body: Buffer.alloc(271828) },
  ...more,
});

// Resolves with {error, reply, initial, trailing} whatever the status.
function unary(method, request, { metadata = new grpc.Metadata(), on = client } = {}) {
  return new Promise((resolve) => {
    const seen = {};
    const call = on[method](request, metadata, deadline(), (error, reply) => {
      seen.error = error;
      seen.reply = reply;
    });
    call.on("metadata", (m) => (seen.initial = m));
    call.on("status", (s) => {
      seen.trailing = s.metadata;
      setImmediate(() => resolve(seen));
    });
  });
}

// A duplex call with bounded waits: next() is the next message, end() the final status.
function duplex(method, { metadata = new grpc.Metadata(), options = deadline() } = {}) {
  const call = client[method](metadata, options);
  const seen = { call, messages: [], waiting: [] };
  const give = (m) => (seen.waiting.length ? seen.waiting.shift()(m) : seen.messages.push(m));
  call.on("data", give);
  call.on("metadata", (m) => (seen.initial = m));
  call.on("error", () => {});
  const status = new Promise((resolve) => call.on("status", resolve));
  seen.next = () =>
    seen.messages.length
      ? Promise.resolve(seen.messages.shift())
      : new Promise((resolve) => seen.waiting.push(resolve));
  seen.end = () => status;
  return seen;
}

async function round(stream, wanted, sent) {
  stream.call.write({
    response_parameters: [{ size: wanted }],
    payload: { body: Buffer.alloc(sent) },
  });
  assert.equal((await stream.next()).payload.body.length, wanted);
}

function inputSum(on, sizes, more) {
  return new Promise((resolve) => {
    const call = on.StreamingInputCall(new grpc.Metadata(), deadline(), (error, reply) =>
      resolve({ error, sum: reply && reply.aggregated_payload_size }),
    );
    for (const size of sizes) call.write({ payload: { body: Buffer.alloc(size) }, ...more });
    call.end();
  });
}

async function expectLarge(options) {
  const seen = await unary("UnaryCall", large(), options);
  assert.equal(seen.error, null);
  assert.equal(seen.reply.payload.body.length, 314159);
  return seen;
}

function customMetadata() {
  const metadata = new grpc.Metadata();
  metadata.set("x-grpc-test-echo-initial", "test_initial_metadata_value");
  metadata.set("x-grpc-test-echo-trailing-bin", Buffer.from("ababab", "hex"));
  return metadata;
}

function expectMetadata(initial, trailing) {
  assert.deepEqual(initial.get("x-grpc-test-echo-initial"), ["test_initial_metadata_value"]);
  assert.equal(trailing.get("x-grpc-test-echo-trailing-bin")[0].toString("hex"), "ababab");
}

async function expectEcho(text) {
  const response_status = { code: 2, message: text };
  const { error } = await unary("UnaryCall", { response_status });
  assert.equal(error.code, grpc.status.UNKNOWN);
  assert.equal(error.details, text);
  const stream = duplex("FullDuplexCall");
  stream.call.write({ response_status });
  const status = await stream.end();
  assert.equal(status.code, grpc.status.UNKNOWN);
  assert.equal(status.details, text);
}

const cases = {
  async empty_unary() {
    assert.equal((await unary("EmptyCall", {})).error, null);
  },
  async large_unary() {
    await expectLarge();
  },
  async client_compressed_unary() {
    const plain = await unary("UnaryCall", large({ expect_compressed: { value: true } }));
    assert.equal(plain.error.code, grpc.status.INVALID_ARGUMENT);
    const request = large({ expect_compressed: { value: true } });
    assert.equal((await unary("UnaryCall", request, { on: compressed })).error, null);
  },
  async server_compressed_unary() {
    for (const value of [true, false]) {
      const { error, reply } = await unary("UnaryCall", large({ response_compressed: { value } }));
      assert.equal(error, null);
      assert.equal(reply.payload.body.length, 314159);
    }
  },
  // grpc-js cannot switch compression off for one message of a stream.
  async client_compressed_streaming() {
    const expect_compressed = { value: true };
    const plain = await inputSum(client, SIZES_IN, { expect_compressed });
    assert.equal(plain.error.code, grpc.status.INVALID_ARGUMENT);
    const packed = await inputSum(compressed, SIZES_IN, { expect_compressed });
    assert.equal(packed.error, null);
    assert.equal(packed.sum, 74922);
  },
  async server_compressed_streaming() {
    const response_parameters = [
      { size: 31415, compressed: { value: true } },
      { size: 92653, compressed: { value: false } },
    ];
    const call = client.StreamingOutputCall({ response_parameters }, deadline());
    const sizes = [];
    for await (const message of call) sizes.push(message.payload.body.length);
    assert.deepEqual(sizes, [31415, 92653]);
  },
  async client_streaming() {
    const { error, sum } = await inputSum(client, SIZES_IN);
    assert.equal(error, null);
    assert.equal(sum, 74922);
  },
  async server_streaming() {
    const response_parameters = SIZES_OUT.map((size) => ({ size }));
    const call = client.StreamingOutputCall({ response_parameters }, deadline());
    const sizes = [];
    for await (const message of call) sizes.push(message.payload.body.length);
    assert.deepEqual(sizes, SIZES_OUT);
  },
  async ping_pong() {
    const stream = duplex("FullDuplexCall");
    for (let i = 0; i < 4; i++) await round(stream, SIZES_OUT[i], SIZES_IN[i]);
    stream.call.end();
    assert.equal((await stream.end()).code, grpc.status.OK);
    assert.equal(stream.messages.length, 0);
  },
  async empty_stream() {
    const stream = duplex("FullDuplexCall");
    stream.call.end();
    assert.equal((await stream.end()).code, grpc.status.OK);
    assert.equal(stream.messages.length, 0);
  },
  async custom_metadata() {
    const seen = await expectLarge({ metadata: customMetadata() });
    expectMetadata(seen.initial, seen.trailing);
    const stream = duplex("FullDuplexCall", { metadata: customMetadata() });
    await round(stream, 314159, 271828);
    stream.call.end();
    const status = await stream.end();
    assert.equal(status.code, grpc.status.OK);
    expectMetadata(stream.initial, status.metadata);
  },
  status_code_and_message: () => expectEcho("test status message"),
  special_status_message: () =>
    expectEcho("\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \u{1F608}\t\n"),
  async unimplemented_method() {
    const { error } = await unary("UnimplementedCall", {});
    assert.equal(error.code, grpc.status.UNIMPLEMENTED);
  },
  async unimplemented_service() {
    const { error } = await unary("UnimplementedCall", {}, { on: other });
    assert.equal(error.code, grpc.status.UNIMPLEMENTED);
  },
  async cancel_after_begin() {
    const error = await new Promise((resolve) => {
      const call = client.StreamingInputCall(new grpc.Metadata(), deadline(), resolve);
      call.cancel();
    });
    assert.equal(error.code, grpc.status.CANCELLED);
  },
  async cancel_after_first_response() {
    const stream = duplex("FullDuplexCall");
    await round(stream, 31415, 27182);
    stream.call.cancel();
    assert.equal((await stream.end()).code, grpc.status.CANCELLED);
  },
  async timeout_on_sleeping_server() {
    const stream = duplex("FullDuplexCall", { options: { deadline: Date.now() + 20 } });
    stream.call.write({
      payload: { body: Buffer.alloc(27182) },
      response_parameters: [{ size: 1, interval_us: 5000000 }],
    });
    assert.equal((await stream.end()).code, grpc.status.DEADLINE_EXCEEDED);
  },
  async concurrent_large_unary() {
    await Promise.all(Array.from({ length: 100 }, () => expectLarge()));
  },
};

cases[name]()
  .then(() => process.exit(0))
  .catch((error) => {
    console.error(`${name}: ${error.stack}`);
    process.exit(1);
  });
