#include "grpc/reflection.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/descriptor_database.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>

#include "grpc/proto_codec.h"

namespace loader::grpc {
namespace {

namespace pb = google::protobuf;

constexpr unsigned char kBuiltin[] = {
#include "builtin_descriptors.inc"
};

// Every file by name, and the pool that finds symbols in them. Read only once built.
class DescriptorIndex {
 public:
  void add(std::string_view set_bytes) {
    pb::FileDescriptorSet set;
    if (!set.ParseFromArray(set_bytes.data(), static_cast<int>(set_bytes.size())))
      throw std::invalid_argument("reflection: bytes are no FileDescriptorSet");
    for (const pb::FileDescriptorProto& file : set.file())
      files_.emplace(file.name(), file.SerializeAsString());
  }

  // Links all files; from here on lookups are const and need no lock.
  void link() {
    std::set<std::string> done;
    for (auto& [name, bytes] : files_) link_file(name, done);
  }

  const pb::FileDescriptor* file(const std::string& name) const {
    return pool_.FindFileByName(name);
  }

  const pb::FileDescriptor* file_of_symbol(const std::string& symbol) const {
    if (auto* file = pool_.FindFileContainingSymbol(symbol)) return file;
    return nullptr;
  }
  const pb::Descriptor* message(const std::string& name) const {
    return pool_.FindMessageTypeByName(name);
  }
  const pb::DescriptorPool& pool() const { return pool_; }
  const std::string& bytes(const std::string& name) const { return files_.at(name); }

 private:
  void link_file(const std::string& name, std::set<std::string>& done) {
    if (!done.insert(name).second) return;
    auto it = files_.find(name);
    if (it == files_.end()) throw std::invalid_argument("reflection: missing import " + name);
    pb::FileDescriptorProto proto;
    proto.ParseFromString(it->second);
    for (const std::string& import : proto.dependency()) link_file(import, done);
    if (pool_.BuildFile(proto) == nullptr)
      throw std::invalid_argument("reflection: cannot link " + name);
  }

  std::map<std::string, std::string> files_;
  pb::DescriptorPool pool_;
};

struct Request {
  std::string host;
  uint32_t kind = 0;  // the field number of the oneof, 0 if unset
  std::string text;
  int32_t extension_number = 0;
};

bool parse_extension(std::string_view bytes, Request& request) {
  ProtoReader reader(bytes);
  while (reader.next()) {
    if (reader.field() == 1) {
      request.text = reader.text();
    } else if (reader.field() == 2) {
      request.extension_number = static_cast<int32_t>(reader.number());
    } else {
      reader.skip();
    }
  }
  return reader.is_good();
}

bool parse(std::string_view bytes, Request& request) {
  ProtoReader reader(bytes);
  while (reader.next()) {
    uint32_t field = reader.field();
    if (field == 1) {
      request.host = reader.text();
    } else if (field >= 3 && field <= 7) {
      request.kind = field;
      request.text = reader.text();
      if (field == 5 && !parse_extension(std::string(request.text), request)) return false;
    } else {
      reader.skip();
    }
  }
  return reader.is_good();
}

class ReflectionHandler final : public CallHandler {
 public:
  ReflectionHandler(Call& call, std::shared_ptr<const DescriptorIndex> index,
                    std::shared_ptr<const std::vector<std::string>> services)
      : call_(call), index_(std::move(index)), services_(std::move(services)) {}

  void on_message(Message& message) override {
    Request request;
    if (!parse(message.bytes(), request))
      return call_.finish({Code::kInternal, "the request is not a valid protobuf message"});
    if (request.kind == 0)
      return call_.finish({Code::kInvalidArgument, "message_request is not set"});
    std::string out;
    if (!request.host.empty()) put_text(out, 1, request.host);
    put_text(out, 2, message.bytes());
    answer(request, out);
    held_ += message.window_bytes();
    call_.send_message(out);
    release();
  }
  void on_half_close() override { call_.finish(); }
  void on_cancel(CancelReason) override { call_.finish(); }
  void on_writable() override { release(); }

 private:
  // A client that asks without reading is stopped by its own window.
  void release() {
    if (call_.queued_bytes() < 64 << 10) call_.consume(std::exchange(held_, 0));
  }

  void answer(const Request& request, std::string& out) {
    switch (request.kind) {
      case 3:
        return put_files(index_->file(request.text), "file", request.text, out);
      case 4:
        return put_files(index_->file_of_symbol(plain(request.text)), "symbol", request.text, out);
      case 5:
        return put_extension(request, out);
      case 6:
        return put_extension_numbers(request, out);
      default:
        return put_services(out);
    }
  }

  static std::string plain(const std::string& name) {
    return name.starts_with('.') ? name.substr(1) : name;
  }

  static void put_error(const std::string& text, std::string& out) {
    std::string error;
    put_number(error, 1, static_cast<uint64_t>(Code::kNotFound));
    put_text(error, 2, text);
    put_text(out, 7, error);
  }

  void put_files(const pb::FileDescriptor* file, const char* kind, const std::string& name,
                 std::string& out) {
    if (file == nullptr) return put_error(std::string(kind) + " not found: " + name, out);
    std::string files;
    std::set<const pb::FileDescriptor*> seen;
    put_closure(file, seen, files);
    put_text(out, 4, files);
  }

  // The requested file first, then everything it imports.
  void put_closure(const pb::FileDescriptor* file, std::set<const pb::FileDescriptor*>& seen,
                   std::string& files) {
    if (!seen.insert(file).second) return;
    put_text(files, 1, index_->bytes(std::string(file->name())));
    for (int i = 0; i < file->dependency_count(); i++)
      put_closure(file->dependency(i), seen, files);
  }

  void put_extension(const Request& request, std::string& out) {
    const pb::Descriptor* type = index_->message(plain(request.text));
    const pb::FieldDescriptor* extension =
        type == nullptr ? nullptr
                        : index_->pool().FindExtensionByNumber(type, request.extension_number);
    put_files(extension == nullptr ? nullptr : extension->file(), "extension", request.text, out);
  }

  void put_extension_numbers(const Request& request, std::string& out) {
    const pb::Descriptor* type = index_->message(plain(request.text));
    if (type == nullptr) return put_error("type not found: " + request.text, out);
    std::vector<const pb::FieldDescriptor*> extensions;
    index_->pool().FindAllExtensions(type, &extensions);
    std::string body, packed;
    put_text(body, 1, plain(request.text));
    for (auto* extension : extensions)
      put_varint(packed, static_cast<uint64_t>(extension->number()));
    if (!packed.empty()) put_text(body, 2, packed);
    put_text(out, 5, body);
  }

  void put_services(std::string& out) {
    std::string list;
    for (const std::string& name : *services_) {
      std::string service;
      put_text(service, 1, name);
      put_text(list, 1, service);
    }
    put_text(out, 6, list);
  }

  Call& call_;
  std::shared_ptr<const DescriptorIndex> index_;
  std::shared_ptr<const std::vector<std::string>> services_;
  size_t held_ = 0;
};

}  // namespace

void add_reflection(Router& router, const std::vector<std::string_view>& file_descriptor_sets) {
  auto index = std::make_shared<DescriptorIndex>();
  index->add({reinterpret_cast<const char*>(kBuiltin), sizeof kBuiltin});
  for (std::string_view set : file_descriptor_sets) index->add(set);
  index->link();
  auto services = std::make_shared<std::vector<std::string>>();
  Method method;
  method.cardinality = Cardinality::kBidi;
  method.is_auto_consume = false;
  method.is_background = true;
  method.factory = [index, services](Call& call) {
    return make_handler<ReflectionHandler>(call, index, services);
  };
  router.add("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", method);
  router.add("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", method);
  *services = router.services();
}

}  // namespace loader::grpc
