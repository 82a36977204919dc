// The interop cases by grpc++: `interop-client-cpp CASE TARGET [CA_FILE]`. Ends with 1 and a line
// that says what was wrong. Knows only the published cases, nothing of our server.
#include <grpcpp/grpcpp.h>

#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <thread>
#include <vector>

#include "grpc/testing/test.grpc.pb.h"

namespace {

namespace t = grpc::testing;
using Context = grpc::ClientContext;

struct Failure {
  std::string what;
};

void expect(bool is_true, const std::string& what) {
  if (!is_true) throw Failure{what};
}

void expect_code(const grpc::Status& status, grpc::StatusCode code) {
  expect(status.error_code() == code, "status " + std::to_string(status.error_code()) + " '" +
                                          status.error_message() + "', expected " +
                                          std::to_string(code));
}

const std::vector<int> kIn = {27182, 8, 1828, 45904};
const std::vector<int> kOut = {31415, 9, 2653, 58979};

class Cases {
 public:
  explicit Cases(std::shared_ptr<grpc::Channel> channel)
      : stub_(t::TestService::NewStub(channel)),
        other_(t::UnimplementedService::NewStub(channel)) {}

  void empty_unary() {
    Deadline c;
    t::Empty reply;
    expect_code(stub_->EmptyCall(&c, {}, &reply), grpc::OK);
  }

  void large_unary() {
    Deadline c;
    expect_large(c, large());
  }

  void client_compressed_unary() {
    for (auto [compressed, expected, code] : {std::tuple{false, true, grpc::INVALID_ARGUMENT},
                                              {true, true, grpc::OK},
                                              {false, false, grpc::OK}}) {
      Deadline c;
      if (compressed) c.set_compression_algorithm(GRPC_COMPRESS_GZIP);
      t::SimpleRequest request = large();
      request.mutable_expect_compressed()->set_value(expected);
      t::SimpleResponse reply;
      expect_code(stub_->UnaryCall(&c, request, &reply), code);
    }
  }

  void server_compressed_unary() {
    for (bool compressed : {true, false}) {
      Deadline c;
      t::SimpleRequest request = large();
      request.mutable_response_compressed()->set_value(compressed);
      expect_large(c, request);
    }
  }

  void client_compressed_streaming() {
    expect_code(send_both(grpc::WriteOptions().set_no_compression()), grpc::INVALID_ARGUMENT);
    expect_code(send_both(grpc::WriteOptions()), grpc::OK);
  }

  void server_compressed_streaming() {
    Deadline c;
    t::StreamingOutputCallRequest request;
    for (auto [size, compressed] : {std::pair{31415, true}, {92653, false}}) {
      auto* wanted = request.add_response_parameters();
      wanted->set_size(size);
      wanted->mutable_compressed()->set_value(compressed);
    }
    auto call = stub_->StreamingOutputCall(&c, request);
    t::StreamingOutputCallResponse reply;
    for (int size : {31415, 92653})
      expect(call->Read(&reply) && reply.payload().body().size() == size_t(size), "size");
    expect(!call->Read(&reply), "a third response");
    expect_code(call->Finish(), grpc::OK);
  }

  void client_streaming() {
    Deadline c;
    t::StreamingInputCallResponse reply;
    auto call = stub_->StreamingInputCall(&c, &reply);
    for (int size : kIn) {
      t::StreamingInputCallRequest request;
      request.mutable_payload()->set_body(std::string(size_t(size), '\0'));
      expect(call->Write(request), "write");
    }
    call->WritesDone();
    expect_code(call->Finish(), grpc::OK);
    expect(reply.aggregated_payload_size() == 74922, "sum");
  }

  void server_streaming() {
    Deadline c;
    t::StreamingOutputCallRequest request;
    for (int size : kOut) request.add_response_parameters()->set_size(size);
    auto call = stub_->StreamingOutputCall(&c, request);
    t::StreamingOutputCallResponse reply;
    for (int size : kOut)
      expect(call->Read(&reply) && reply.payload().body().size() == size_t(size), "size");
    expect(!call->Read(&reply), "a fifth response");
    expect_code(call->Finish(), grpc::OK);
  }

  void ping_pong() {
    Deadline c;
    auto call = stub_->FullDuplexCall(&c);
    for (size_t i = 0; i < kIn.size(); i++) round(*call, kOut[i], kIn[i]);
    call->WritesDone();
    t::StreamingOutputCallResponse reply;
    expect(!call->Read(&reply), "a fifth response");
    expect_code(call->Finish(), grpc::OK);
  }

  void empty_stream() {
    Deadline c;
    auto call = stub_->FullDuplexCall(&c);
    call->WritesDone();
    t::StreamingOutputCallResponse reply;
    expect(!call->Read(&reply), "a response");
    expect_code(call->Finish(), grpc::OK);
  }

  void custom_metadata() {
    Deadline unary;
    add_metadata(unary);
    expect_large(unary, large());
    expect_metadata(unary);
    Deadline c;
    add_metadata(c);
    auto call = stub_->FullDuplexCall(&c);
    round(*call, 314159, 271828);
    call->WritesDone();
    expect_code(call->Finish(), grpc::OK);
    expect_metadata(c);
  }

  void status_code_and_message() { expect_echo("test status message"); }
  void special_status_message() {
    expect_echo("\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001F608\t\n");
  }

  void unimplemented_method() {
    Deadline c;
    t::Empty reply;
    expect_code(stub_->UnimplementedCall(&c, {}, &reply), grpc::UNIMPLEMENTED);
  }

  void unimplemented_service() {
    Deadline c;
    t::Empty reply;
    expect_code(other_->UnimplementedCall(&c, {}, &reply), grpc::UNIMPLEMENTED);
  }

  void cancel_after_begin() {
    Deadline c;
    t::StreamingInputCallResponse reply;
    auto call = stub_->StreamingInputCall(&c, &reply);
    c.TryCancel();
    expect_code(call->Finish(), grpc::CANCELLED);
  }

  void cancel_after_first_response() {
    Deadline c;
    auto call = stub_->FullDuplexCall(&c);
    round(*call, 31415, 27182);
    c.TryCancel();
    expect_code(call->Finish(), grpc::CANCELLED);
  }

  void timeout_on_sleeping_server() {
    Context c;
    c.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(20));
    auto call = stub_->FullDuplexCall(&c);
    t::StreamingOutputCallRequest request;
    request.mutable_payload()->set_body(std::string(27182, '\0'));
    request.add_response_parameters()->set_interval_us(5'000'000);
    call->Write(request);
    expect_code(call->Finish(), grpc::DEADLINE_EXCEEDED);
  }

  void concurrent_large_unary() {
    std::vector<std::thread> threads;
    std::vector<std::string> failures(16);
    for (std::string& failure : failures)
      threads.emplace_back([this, &failure] {
        try {
          for (int i = 0; i < 8; i++) large_unary();
        } catch (const Failure& f) {
          failure = f.what;
        }
      });
    for (auto& thread : threads) thread.join();
    for (const std::string& failure : failures) expect(failure.empty(), failure);
  }

 private:
  using Duplex =
      grpc::ClientReaderWriter<t::StreamingOutputCallRequest, t::StreamingOutputCallResponse>;

  struct Deadline : Context {
    Deadline() { set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30)); }
  };

  static t::SimpleRequest large() {
    t::SimpleRequest request;
    request.set_response_size(314159);
    request.mutable_payload()->set_body(std::string(271828, '\0'));
    return request;
  }

  // A message said to be compressed, written as the options say, and one that is not.
  grpc::Status send_both(grpc::WriteOptions first) {
    Deadline c;
    c.set_compression_algorithm(GRPC_COMPRESS_GZIP);
    t::StreamingInputCallResponse reply;
    auto call = stub_->StreamingInputCall(&c, &reply);
    t::StreamingInputCallRequest request;
    request.mutable_expect_compressed()->set_value(true);
    request.mutable_payload()->set_body(std::string(27182, '\0'));
    if (call->Write(request, first)) {
      request.mutable_expect_compressed()->set_value(false);
      request.mutable_payload()->set_body(std::string(45904, '\0'));
      call->Write(request, grpc::WriteOptions().set_no_compression());
    }
    call->WritesDone();
    grpc::Status status = call->Finish();
    if (status.ok()) expect(reply.aggregated_payload_size() == 73086, "sum");
    return status;
  }

  void expect_large(Context& c, const t::SimpleRequest& request) {
    t::SimpleResponse reply;
    expect_code(stub_->UnaryCall(&c, request, &reply), grpc::OK);
    expect(reply.payload().body().size() == 314159, "size");
  }

  static void round(Duplex& call, int wanted, int sent) {
    t::StreamingOutputCallRequest request;
    request.mutable_payload()->set_body(std::string(size_t(sent), '\0'));
    request.add_response_parameters()->set_size(wanted);
    expect(call.Write(request), "write");
    t::StreamingOutputCallResponse reply;
    expect(call.Read(&reply) && reply.payload().body().size() == size_t(wanted), "size");
  }

  static void add_metadata(Context& c) {
    c.AddMetadata("x-grpc-test-echo-initial", "test_initial_metadata_value");
    c.AddMetadata("x-grpc-test-echo-trailing-bin", "\xab\xab\xab");
  }

  static void expect_metadata(Context& c) {
    auto& initial = c.GetServerInitialMetadata();
    auto i = initial.find("x-grpc-test-echo-initial");
    expect(i != initial.end() && i->second == "test_initial_metadata_value", "initial metadata");
    auto& trailing = c.GetServerTrailingMetadata();
    auto b = trailing.find("x-grpc-test-echo-trailing-bin");
    expect(b != trailing.end() && b->second == "\xab\xab\xab", "trailing metadata");
  }

  void expect_echo(const std::string& text) {
    Deadline unary;
    t::SimpleRequest request;
    request.mutable_response_status()->set_code(2);
    request.mutable_response_status()->set_message(text);
    t::SimpleResponse reply;
    grpc::Status status = stub_->UnaryCall(&unary, request, &reply);
    expect_code(status, grpc::UNKNOWN);
    expect(status.error_message() == text, "unary text");
    Deadline c;
    auto call = stub_->FullDuplexCall(&c);
    t::StreamingOutputCallRequest streamed;
    *streamed.mutable_response_status() = request.response_status();
    call->Write(streamed);
    status = call->Finish();
    expect_code(status, grpc::UNKNOWN);
    expect(status.error_message() == text, "stream text");
  }

  std::unique_ptr<t::TestService::Stub> stub_;
  std::unique_ptr<t::UnimplementedService::Stub> other_;
};

const std::map<std::string, void (Cases::*)()> kCases = {
    {"empty_unary", &Cases::empty_unary},
    {"large_unary", &Cases::large_unary},
    {"client_compressed_unary", &Cases::client_compressed_unary},
    {"server_compressed_unary", &Cases::server_compressed_unary},
    {"client_compressed_streaming", &Cases::client_compressed_streaming},
    {"server_compressed_streaming", &Cases::server_compressed_streaming},
    {"client_streaming", &Cases::client_streaming},
    {"server_streaming", &Cases::server_streaming},
    {"ping_pong", &Cases::ping_pong},
    {"empty_stream", &Cases::empty_stream},
    {"custom_metadata", &Cases::custom_metadata},
    {"status_code_and_message", &Cases::status_code_and_message},
    {"special_status_message", &Cases::special_status_message},
    {"unimplemented_method", &Cases::unimplemented_method},
    {"unimplemented_service", &Cases::unimplemented_service},
    {"cancel_after_begin", &Cases::cancel_after_begin},
    {"cancel_after_first_response", &Cases::cancel_after_first_response},
    {"timeout_on_sleeping_server", &Cases::timeout_on_sleeping_server},
    {"concurrent_large_unary", &Cases::concurrent_large_unary},
};

std::shared_ptr<grpc::ChannelCredentials> credentials(const char* ca_file) {
  if (ca_file == nullptr) return grpc::InsecureChannelCredentials();
  std::ostringstream text;
  text << std::ifstream(ca_file).rdbuf();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = text.str();
  return grpc::SslCredentials(options);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || kCases.count(argv[1]) == 0) {
    std::cerr << "usage: interop-client-cpp CASE TARGET [CA_FILE]\n";
    return 2;
  }
  try {
    Cases cases(grpc::CreateChannel(argv[2], credentials(argc > 3 ? argv[3] : nullptr)));
    (cases.*kCases.at(argv[1]))();
  } catch (const Failure& failure) {
    std::cerr << argv[1] << ": " << failure.what << "\n";
    return 1;
  }
  return 0;
}
