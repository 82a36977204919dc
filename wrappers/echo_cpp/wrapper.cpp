// The smallest complete C++ wrapper: what comes in goes out. Copy this folder to start your own.
#include <loader/wrapper.hpp>

namespace {

// Each item's payload moves from the input to the result; keys and shapes are copied by emit.
loader::Result echo(loader::Frame& frame) {
  loader::Result result;
  for (uint32_t i = 0; i < frame.size(); ++i) {
    loader::Item item = frame[i];
    result.item(item, item.take());
  }
  return result;
}

class EchoSession : public loader::Session {
 public:
  loader_status_t write(loader::Call& call, loader::Frame& frame) override {
    call.emit(echo(frame));
    return LOADER_OK;
  }
};

class Echo : public loader::Wrapper {
 public:
  static const char* describe() {
    return R"({"inputs": [], "outputs": [], "parameters": [],
               "properties": {"non_blocking": true, "deterministic": true}})";
  }
  loader_status_t exec(loader::Call& call, const loader::Open&, loader::Frame& request) override {
    call.emit(echo(request));
    return LOADER_OK;
  }
  std::unique_ptr<loader::Session> create(loader::Call&, const loader::Open&) override {
    return std::make_unique<EchoSession>();
  }
};

}  // namespace

LOADER_WRAPPER(Echo, "echo_cpp", "1.0.0")
