// The baseline "bare": a grpc++ completion-queue echo on byte buffers with one polling thread,
// health and reflection on. The best that the reference library gives without sessions, isolation,
// limits and metrics. A method whose name ends in "Exec" is answered as unary, every other as a
// stream.
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <memory>
#include <string>

namespace {

class Call {
 public:
  Call(grpc::AsyncGenericService& service, grpc::ServerCompletionQueue& queue)
      : service_(service), queue_(queue), stream_(&context_) {
    service_.RequestCall(&context_, &stream_, &queue_, &queue_, this);
  }

  void advance(bool is_ok) {
    switch (step_) {
      case Step::kAccept:
        if (!is_ok) return finish_now();
        new Call(service_, queue_);
        is_unary_ = context_.method().ends_with("Exec");
        return read();
      case Step::kRead:
        return is_ok ? write() : finish();
      case Step::kWrite:
        return is_ok ? read() : finish();
      case Step::kFinish:
        return finish_now();
    }
  }

 private:
  enum class Step { kAccept, kRead, kWrite, kFinish };

  void read() {
    step_ = Step::kRead;
    stream_.Read(&message_, this);
  }
  void write() {
    step_ = is_unary_ ? Step::kFinish : Step::kWrite;
    if (is_unary_) {
      stream_.WriteAndFinish(message_, grpc::WriteOptions(), grpc::Status::OK, this);
    } else {
      stream_.Write(message_, this);
    }
  }
  void finish() {
    step_ = Step::kFinish;
    stream_.Finish(grpc::Status::OK, this);
  }
  void finish_now() { delete this; }

  grpc::AsyncGenericService& service_;
  grpc::ServerCompletionQueue& queue_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_;
  grpc::ByteBuffer message_;
  Step step_ = Step::kAccept;
  bool is_unary_ = false;
};

}  // namespace

int main() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::AsyncGenericService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterAsyncGenericService(&service);
  builder.SetMaxReceiveMessageSize(-1);
  const std::unique_ptr<grpc::ServerCompletionQueue> queue = builder.AddCompletionQueue();
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) return 1;
  std::printf("{\"grpc\": \"127.0.0.1:%d\"}\n", port);
  std::fflush(stdout);
  for (int i = 0; i < 64; ++i) new Call(service, *queue);
  void* tag = nullptr;
  bool is_ok = false;
  while (queue->Next(&tag, &is_ok)) static_cast<Call*>(tag)->advance(is_ok);
  return 0;
}
