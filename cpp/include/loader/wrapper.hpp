// The C++17 layer over wrapper.h: derive from loader::Wrapper, end the file with LOADER_WRAPPER.
// Header-only. Responsible for ownership and for keeping exceptions inside the library; refuses to
// add behaviour that the C contract does not have.
//
//   class Echo : public loader::Wrapper {
//     loader_status_t exec(loader::Call& call, const loader::Open&, loader::Frame& request)
//     override {
//       call.emit(loader::Result().text("text", request.at("text").text()));
//       return LOADER_OK;
//     }
//   };
//   LOADER_WRAPPER(Echo, "echo", "1.0.0")
#ifndef LOADER_WRAPPER_HPP
#define LOADER_WRAPPER_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "loader/ext/health.h"
#include "loader/ext/update.h"
#include "loader/ext/warmup.h"
#include "loader/wrapper.h"

namespace loader {

// Throw it from any entry: the caller gets `status` and the message. Positive statuses are yours.
class Error : public std::exception {
 public:
  Error(loader_status_t status, std::string message)
      : status_(status), message_(std::move(message)) {}
  loader_status_t status() const noexcept { return status_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  loader_status_t status_;
  std::string message_;
};

inline std::string_view view(const loader_string_t& text) noexcept {
  return text.size == 0 ? std::string_view() : std::string_view(text.data, text.size);
}

inline loader_string_t c_string(std::string_view text) noexcept {
  return loader_string_t{text.data(), text.size()};
}

// Bytes with an owner; releases them when destroyed. Empty after a move.
class Buffer {
 public:
  Buffer() noexcept = default;
  explicit Buffer(const loader_buffer_t& raw) noexcept : raw_(raw) {}
  Buffer(Buffer&& other) noexcept : raw_(std::exchange(other.raw_, loader_buffer_t{})) {}
  Buffer& operator=(Buffer&& other) noexcept {
    if (this != &other) {
      reset();
      raw_ = std::exchange(other.raw_, loader_buffer_t{});
    }
    return *this;
  }
  ~Buffer() { reset(); }

  const uint8_t* data() const noexcept { return raw_.data; }
  uint64_t size() const noexcept { return raw_.size; }
  std::string_view text() const noexcept {
    return raw_.size == 0 ? std::string_view()
                          : std::string_view(reinterpret_cast<const char*>(raw_.data), raw_.size);
  }
  // Gives the bytes up to whoever takes the struct.
  loader_buffer_t leave() noexcept { return std::exchange(raw_, loader_buffer_t{}); }
  void reset() noexcept {
    loader_buffer_t gone = std::exchange(raw_, loader_buffer_t{});
    if (gone.release != nullptr) gone.release(&gone);
  }

 private:
  loader_buffer_t raw_{};
};

// One item of an input frame. A view: valid until the entry returns.
class Item {
 public:
  explicit Item(loader_item_t* raw) noexcept : raw_(raw) {}
  std::string_view key() const noexcept { return view(raw_->key); }
  uint32_t type() const noexcept { return raw_->type; }
  uint32_t status() const noexcept { return raw_->status; }
  uint32_t data_type() const noexcept { return raw_->data_type; }
  const uint8_t* data() const noexcept { return raw_->data.data; }
  uint64_t size() const noexcept { return raw_->data.size; }
  std::string_view text() const noexcept {
    return raw_->data.size == 0
               ? std::string_view()
               : std::string_view(reinterpret_cast<const char*>(raw_->data.data), raw_->data.size);
  }
  const int64_t* shape() const noexcept { return raw_->shape; }
  uint32_t dim_count() const noexcept { return raw_->dim_count; }
  std::optional<std::string_view> attribute(std::string_view key) const noexcept {
    for (uint32_t i = 0; i < raw_->attribute_count; ++i)
      if (view(raw_->attributes[i].key) == key) return view(raw_->attributes[i].value);
    return std::nullopt;
  }
  // Keeps the payload beyond the entry's return, where possible without a copy.
  Buffer take() {
    if (raw_->data.release == nullptr && raw_->data.size != 0) return copy();
    loader_buffer_t taken = raw_->data;
    raw_->data.release = nullptr;
    return Buffer(taken);
  }
  const loader_item_t& raw() const noexcept { return *raw_; }

 private:
  Buffer copy() const {
    auto* bytes = new uint8_t[raw_->data.size];
    std::memcpy(bytes, raw_->data.data, raw_->data.size);
    return Buffer(loader_buffer_t{bytes, raw_->data.size,
                                  [](loader_buffer_t* self) { delete[] self->data; }, nullptr});
  }
  loader_item_t* raw_;
};

// One input frame. A view: valid until the entry returns.
class Frame {
 public:
  explicit Frame(loader_frame_t* raw) noexcept : raw_(raw) {}
  uint64_t seq() const noexcept { return raw_->seq; }
  uint32_t size() const noexcept { return raw_->item_count; }
  Item operator[](uint32_t i) const noexcept {
    auto* first = reinterpret_cast<unsigned char*>(raw_->items);
    return Item(reinterpret_cast<loader_item_t*>(first + size_t{i} * raw_->item_size));
  }
  // The first item of that key.
  std::optional<Item> find(std::string_view key) const noexcept {
    for (uint32_t i = 0; i < size(); ++i)
      if ((*this)[i].key() == key) return (*this)[i];
    return std::nullopt;
  }
  Item at(std::string_view key) const {
    if (auto item = find(key)) return *item;
    throw Error(LOADER_ERROR_INVALID_INPUT,
                "the frame has no item '" + std::string(key) + "': send one under that key");
  }
  loader_frame_t* raw() const noexcept { return raw_; }

 private:
  loader_frame_t* raw_;
};

// One result frame in the making. Views passed in must live until emit returns; Buffers are moved
// in.
class Result {
 public:
  Result& text(std::string_view key, std::string_view value, uint32_t status = 0) {
    return add(key, LOADER_ITEM_TEXT, borrowed(value.data(), value.size()), status);
  }
  Result& json(std::string_view key, std::string_view value, uint32_t status = 0) {
    return add(key, LOADER_ITEM_JSON, borrowed(value.data(), value.size()), status);
  }
  Result& bytes(std::string_view key, const void* data, uint64_t size, uint32_t status = 0) {
    return add(key, LOADER_ITEM_BYTES, borrowed(data, size), status);
  }
  Result& item(std::string_view key, uint32_t type, Buffer data, uint32_t status = 0) {
    return add(key, type, data.leave(), status);
  }
  Result& item(std::string_view key, uint32_t type, const void* data, uint64_t size,
               uint32_t status = 0) {
    return add(key, type, borrowed(data, size), status);
  }
  // An item like `source` in everything but its payload. The source must live until emit returns.
  Result& item(const Item& source, Buffer data) {
    add(source.key(), source.type(), data.leave(), source.status());
    loader_item_t& made = items_.back();
    made.data_type = source.data_type();
    made.shape = source.shape();
    made.dim_count = source.dim_count();
    const loader_item_t& raw = source.raw();
    attributes_.back().assign(raw.attributes, raw.attributes + raw.attribute_count);
    return *this;
  }
  // `shape` must live until emit returns.
  Result& tensor(std::string_view key, uint32_t data_type, const std::vector<int64_t>& shape,
                 Buffer data) {
    add(key, LOADER_ITEM_TENSOR, data.leave(), 0);
    items_.back().data_type = data_type;
    items_.back().shape = shape.data();
    items_.back().dim_count = static_cast<uint32_t>(shape.size());
    return *this;
  }
  // An attribute of the item added last.
  Result& attribute(std::string_view key, std::string_view value) {
    attributes_.back().push_back(loader_pair_t{c_string(key), c_string(value)});
    return *this;
  }
  Result& position(int64_t units) noexcept {
    position_ = units;
    return *this;
  }
  Result() = default;
  Result(Result&&) noexcept = default;
  Result& operator=(Result&& other) noexcept {
    if (this != &other) {
      drop();
      items_ = std::move(other.items_);
      attributes_ = std::move(other.attributes_);
      position_ = other.position_;
    }
    return *this;
  }
  ~Result() { drop(); }

  // The C view of it; valid until the next change.
  loader_frame_t raw() noexcept {
    for (size_t i = 0; i < items_.size(); ++i) {
      items_[i].attributes = attributes_[i].data();
      items_[i].attribute_count = static_cast<uint32_t>(attributes_[i].size());
    }
    loader_frame_t frame{};
    frame.struct_size = sizeof frame;
    frame.item_size = sizeof(loader_item_t);
    frame.item_count = static_cast<uint32_t>(items_.size());
    frame.position = position_;
    frame.items = items_.data();
    return frame;
  }
  // The host has taken the buffers.
  void disown() noexcept {
    for (auto& item : items_) item.data.release = nullptr;
  }

 private:
  static loader_buffer_t borrowed(const void* data, uint64_t size) noexcept {
    return loader_buffer_t{static_cast<const uint8_t*>(data), size, nullptr, nullptr};
  }
  Result& add(std::string_view key, uint32_t type, loader_buffer_t data, uint32_t status) {
    Buffer guard(data);
    attributes_.reserve(items_.size() + 1);
    loader_item_t item{};
    item.key = c_string(key);
    item.type = type;
    item.status = status;
    item.data = data;
    items_.push_back(item);
    guard.leave();
    attributes_.emplace_back();
    return *this;
  }
  void drop() noexcept {
    for (auto& item : items_)
      if (item.data.release != nullptr) item.data.release(&item.data);
    items_.clear();
  }
  std::vector<loader_item_t> items_;
  std::vector<std::vector<loader_pair_t>> attributes_;
  int64_t position_ = -1;
};

// One session or running call as the host knows it. Cheap to copy; may be used from any thread.
// That of create stands for the session and may be kept to emit at any time; that of write, end and
// exec stands for the call and is the one to finish() after PENDING. When what it stands for is
// over, the host refuses every function of it, harmlessly.
class Call {
 public:
  Call() noexcept = default;
  Call(const loader_host_t* host, loader_handle_t handle) noexcept : host_(host), handle_(handle) {}

  loader_handle_t handle() const noexcept { return handle_; }
  // Waits for credit. False: the client is gone or the session over; stop working for it.
  bool emit(Result& result) const { return send(result, 0) == LOADER_OK; }
  bool emit(Result&& result) const { return send(result, 0) == LOADER_OK; }
  // OK, AGAIN (no credit now) or CLOSED. On AGAIN `result` is unchanged.
  loader_status_t try_emit(Result& result) const { return send(result, LOADER_EMIT_NOWAIT); }
  // Memory for one result in place: fill `*writable`, move the buffer into a Result.
  Buffer allocate(uint64_t size, uint8_t** writable) const {
    loader_buffer_t raw{};
    const loader_status_t status = host_->alloc_result(host_->host, handle_, size, &raw, writable);
    if (status != LOADER_OK)
      throw Error(status, "no memory for a result of " + std::to_string(size) + " bytes");
    return Buffer(raw);
  }
  // After an entry returned LOADER_PENDING, once.
  loader_status_t finish(loader_status_t status = LOADER_OK, std::string_view message = {}) const {
    return host_->finish(host_->host, handle_, status, message.data(), message.size());
  }
  // Ends the session with an error, whatever it is doing, from any thread. CLOSED: it is over, or
  // failed already; UNSUPPORTED: the host is older than ABI 1.1, so throw from the next entry.
  loader_status_t fail(loader_status_t status, std::string_view message) const {
    const bool has_fail = host_->struct_size >= offsetof(loader_host_t, fail) + sizeof host_->fail;
    if (!has_fail || host_->fail == nullptr) return LOADER_ERROR_UNSUPPORTED;
    return host_->fail(host_->host, handle_, status, message.data(), message.size());
  }
  void log(int32_t level, std::string_view text) const {
    host_->log(host_->host, handle_, level, text.data(), text.size());
  }
  void meter(const std::string& unit, double amount) const {
    host_->meter(host_->host, handle_, unit.c_str(), amount);
  }
  void trace(const std::string& key, const std::string& value) const {
    host_->trace(host_->host, handle_, key.c_str(), value.c_str());
  }
  int64_t deadline_ns() const { return host_->deadline(host_->host, handle_); }
  bool is_cancelled() const { return host_->is_cancelled(host_->host, handle_) != 0; }

 private:
  loader_status_t send(Result& result, uint32_t flags) const {
    loader_frame_t frame = result.raw();
    const loader_status_t status = host_->emit(host_->host, handle_, &frame, flags);
    if (status == LOADER_OK) {
      result.disown();
    } else if (status != LOADER_AGAIN && status != LOADER_ERROR_CLOSED) {
      throw Error(status, "the host refused a result with status " + std::to_string(status));
    }
    return status;
  }
  const loader_host_t* host_ = nullptr;
  loader_handle_t handle_ = 0;
};

// What create and exec know of their caller. A view.
class Open {
 public:
  explicit Open(const loader_open_t* raw) noexcept : raw_(raw) {}
  std::string_view session_id() const noexcept { return view(raw_->session_id); }
  // As JSON: 16000, "en", true.
  std::optional<std::string_view> parameter(std::string_view key) const noexcept {
    return find(raw_->parameters, raw_->parameter_count, key);
  }
  std::optional<std::string_view> metadata(std::string_view key) const noexcept {
    return find(raw_->metadata, raw_->metadata_count, key);
  }
  const loader_open_t& raw() const noexcept { return *raw_; }

 private:
  static std::optional<std::string_view> find(const loader_pair_t* pairs, uint32_t count,
                                              std::string_view key) noexcept {
    for (uint32_t i = 0; i < count; ++i)
      if (view(pairs[i].key) == key) return view(pairs[i].value);
    return std::nullopt;
  }
  const loader_open_t* raw_;
};

// What init and update receive. A view.
class Config {
 public:
  explicit Config(const loader_config_t* raw) noexcept : raw_(raw) {}
  std::string_view engine() const noexcept { return view(raw_->engine); }
  std::string_view version() const noexcept { return view(raw_->version); }
  std::string_view directory() const noexcept { return view(raw_->directory); }
  std::string_view json() const noexcept { return view(raw_->json); }
  uint32_t slots() const noexcept { return raw_->slots; }
  uint32_t threads() const noexcept { return raw_->threads; }

 private:
  const loader_config_t* raw_;
};

// One session. Calls of it never overlap, except on_cancel. The destructor follows destroy.
class Session {
 public:
  virtual ~Session() = default;
  // OK, or PENDING and call.finish() later. Throw Error to end the session.
  virtual loader_status_t write(Call& call, Frame& frame) = 0;
  virtual loader_status_t end(Call& call) {
    (void)call;
    return LOADER_OK;
  }
  virtual void on_cancel(int32_t reason) { (void)reason; }
  virtual void destroy(int32_t reason) { (void)reason; }
};

// One engine. Override what it offers: exec, create, or both; warm_up, update, health if it can.
class Wrapper {
 public:
  virtual ~Wrapper() = default;
  virtual void init(const Config& config) { (void)config; }
  virtual loader_status_t exec(Call& call, const Open& open, Frame& request) {
    (void)call, (void)open, (void)request;
    return LOADER_ERROR_UNSUPPORTED;
  }
  virtual std::unique_ptr<Session> create(Call& call, const Open& open) {
    (void)call, (void)open;
    return nullptr;
  }
  virtual void fini() {}
  virtual void warm_up() {}
  virtual void update(const Config& config) { (void)config; }
  virtual void check_health() {}
  // Hides: the JSON of loader_wrapper_t::describe, as a static function of the derived class.
  static const char* describe() { return nullptr; }

  const loader_host_t* host() const noexcept { return host_; }
  void attach(const loader_host_t* host) noexcept { host_ = host; }

 private:
  const loader_host_t* host_ = nullptr;
};

// The C entries of one Wrapper class. LOADER_WRAPPER is its only user.
namespace detail {

inline void write_error(loader_error_t* error, std::string_view text) noexcept {
  if (error == nullptr || error->message == nullptr) return;
  const uint32_t size =
      text.size() < error->capacity ? static_cast<uint32_t>(text.size()) : error->capacity;
  if (size != 0) std::memcpy(error->message, text.data(), size);
  error->size = size;
}

// Runs `body` and turns whatever it throws into a status and a text.
template <typename Body>
loader_status_t guarded(loader_error_t* error, Body&& body) noexcept {
  try {
    return body();
  } catch (const Error& thrown) {
    write_error(error, thrown.what());
    return thrown.status() == LOADER_OK ? LOADER_ERROR_INTERNAL : thrown.status();
  } catch (const std::bad_alloc&) {
    write_error(error, "out of memory");
    return LOADER_ERROR_MEMORY;
  } catch (const std::exception& thrown) {
    write_error(error, thrown.what());
    return LOADER_ERROR_INTERNAL;
  } catch (...) {
    write_error(error, "the wrapper threw something that is not a std::exception");
    return LOADER_ERROR_INTERNAL;
  }
}

struct OpenSession {
  const loader_host_t* host = nullptr;
  std::unique_ptr<Session> session;
};

template <typename T>
struct Entries {
  static loader_status_t init(const loader_host_t* host, const loader_config_t* config,
                              void** instance, loader_error_t* error) {
    return guarded(error, [&] {
      auto wrapper = std::make_unique<T>();
      wrapper->attach(host);
      base(*wrapper).init(Config(config));
      *instance = static_cast<Wrapper*>(wrapper.release());
      return LOADER_OK;
    });
  }
  static void fini(void* instance) {
    std::unique_ptr<Wrapper> wrapper(static_cast<Wrapper*>(instance));
    guarded(nullptr, [&] { return wrapper->fini(), LOADER_OK; });
  }
  static loader_status_t exec(void* instance, loader_handle_t handle, const loader_open_t* open,
                              loader_frame_t* request, loader_error_t* error) {
    return guarded(error, [&] {
      auto* wrapper = static_cast<Wrapper*>(instance);
      Call call(wrapper->host(), handle);
      Frame frame(request);
      return wrapper->exec(call, Open(open), frame);
    });
  }
  static loader_status_t create(void* instance, loader_handle_t handle, const loader_open_t* open,
                                void** session, loader_error_t* error) {
    return guarded(error, [&] {
      auto* wrapper = static_cast<Wrapper*>(instance);
      auto opened = std::make_unique<OpenSession>();
      opened->host = wrapper->host();
      Call call(opened->host, handle);
      opened->session = wrapper->create(call, Open(open));
      if (!opened->session) throw Error(LOADER_ERROR_INTERNAL, "create returned no session");
      *session = opened.release();
      return LOADER_OK;
    });
  }
  static loader_status_t write(void* session, loader_handle_t handle, loader_frame_t* raw,
                               loader_error_t* error) {
    return guarded(error, [&] {
      auto* opened = static_cast<OpenSession*>(session);
      Call call(opened->host, handle);
      Frame frame(raw);
      return opened->session->write(call, frame);
    });
  }
  static loader_status_t end(void* session, loader_handle_t handle, loader_error_t* error) {
    return guarded(error, [&] {
      auto* opened = static_cast<OpenSession*>(session);
      Call call(opened->host, handle);
      return opened->session->end(call);
    });
  }
  static void cancel(void* session, int32_t reason) {
    guarded(nullptr, [&] {
      static_cast<OpenSession*>(session)->session->on_cancel(reason);
      return LOADER_OK;
    });
  }
  static void destroy(void* session, int32_t reason) {
    std::unique_ptr<OpenSession> opened(static_cast<OpenSession*>(session));
    guarded(nullptr, [&] { return opened->session->destroy(reason), LOADER_OK; });
  }
  static loader_status_t warm_up(void* instance, loader_error_t* error) {
    return guarded(error, [&] { return static_cast<Wrapper*>(instance)->warm_up(), LOADER_OK; });
  }
  static loader_status_t update(void* instance, const loader_config_t* config,
                                loader_error_t* error) {
    return guarded(
        error, [&] { return static_cast<Wrapper*>(instance)->update(Config(config)), LOADER_OK; });
  }
  static loader_status_t health(void* instance, loader_error_t* error) {
    return guarded(error,
                   [&] { return static_cast<Wrapper*>(instance)->check_health(), LOADER_OK; });
  }
  static const void* get_extension(const char* id) {
    static const loader_ext_warmup_t warm{sizeof warm, 0, &Entries::warm_up};
    static const loader_ext_update_t live{sizeof live, 0, &Entries::update};
    static const loader_ext_health_t well{sizeof well, 0, &Entries::health};
    const std::string_view wanted(id);
    if (wanted == LOADER_EXT_WARMUP && kWarmsUp) return &warm;
    if (wanted == LOADER_EXT_UPDATE && kUpdates) return &live;
    if (wanted == LOADER_EXT_HEALTH && kChecksHealth) return &well;
    return nullptr;
  }

  // What T overrides is offered; the rest is a NULL entry or a missing extension.
  static constexpr bool kExecutes = !std::is_same_v<decltype(&T::exec), decltype(&Wrapper::exec)>;
  static constexpr bool kHasSessions =
      !std::is_same_v<decltype(&T::create), decltype(&Wrapper::create)>;
  static constexpr bool kWarmsUp =
      !std::is_same_v<decltype(&T::warm_up), decltype(&Wrapper::warm_up)>;
  static constexpr bool kUpdates =
      !std::is_same_v<decltype(&T::update), decltype(&Wrapper::update)>;
  static constexpr bool kChecksHealth =
      !std::is_same_v<decltype(&T::check_health), decltype(&Wrapper::check_health)>;

  static const loader_wrapper_t* table(const char* name, const char* version) noexcept {
    static const loader_wrapper_t kTable = {
        LOADER_ABI_MAJOR,
        LOADER_ABI_MINOR,
        sizeof(loader_wrapper_t),
        0,
        name,
        version,
        &T::describe,
        &Entries::init,
        &Entries::fini,
        kExecutes ? &Entries::exec : nullptr,
        kHasSessions ? &Entries::create : nullptr,
        kHasSessions ? &Entries::write : nullptr,
        kHasSessions ? &Entries::end : nullptr,
        kHasSessions ? &Entries::cancel : nullptr,
        kHasSessions ? &Entries::destroy : nullptr,
        &Entries::get_extension,
    };
    return &kTable;
  }

 private:
  static Wrapper& base(T& wrapper) noexcept { return wrapper; }
};

}  // namespace detail
}  // namespace loader

// Exports `Class` as this library's wrapper. Once, at namespace scope of one source file.
#define LOADER_WRAPPER(Class, name, version)                          \
  extern "C" LOADER_EXPORT const loader_wrapper_t* loader_wrapper() { \
    return ::loader::detail::Entries<Class>::table(name, version);    \
  }

#endif  // LOADER_WRAPPER_HPP
