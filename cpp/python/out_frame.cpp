// Python values to C ABI frames; see out_frame.h.
#include "python/out_frame.h"

#include "python/frame_object.h"
#include "python/library.h"

namespace loader::python {

namespace {

constexpr uint32_t kBytes = LOADER_ITEM_BYTES;
constexpr uint32_t kText = LOADER_ITEM_TEXT;
constexpr uint32_t kTensor = LOADER_ITEM_TENSOR;

std::vector<std::unique_ptr<OutFrame>>& store() {
  thread_local std::vector<std::unique_ptr<OutFrame>> frames;
  return frames;
}

constexpr std::size_t kStoredFrames = 8;

bool is_raw(uint32_t type) {
  return type != LOADER_ITEM_TENSOR && type != LOADER_ITEM_JSON;
}

// The element type of a buffer by its struct-module format; 0: none of ours.
uint32_t data_type_of(const Py_buffer& buffer) {
  const char* format = buffer.format == nullptr ? "B" : buffer.format;
  if (*format == '<' || *format == '=' || *format == '@') ++format;
  if (format[0] == '\0' || format[1] != '\0') return LOADER_TYPE_NONE;
  const bool is_8 = buffer.itemsize == 8;
  switch (format[0]) {
    case '?':
      return LOADER_TYPE_BOOL;
    case 'B':
      return LOADER_TYPE_UINT8;
    case 'H':
      return LOADER_TYPE_UINT16;
    case 'I':
    case 'L':
    case 'Q':
      return is_8 ? LOADER_TYPE_UINT64 : LOADER_TYPE_UINT32;
    case 'b':
      return LOADER_TYPE_INT8;
    case 'h':
      return LOADER_TYPE_INT16;
    case 'i':
    case 'l':
    case 'q':
      return is_8 ? LOADER_TYPE_INT64 : LOADER_TYPE_INT32;
    case 'e':
      return LOADER_TYPE_FP16;
    case 'f':
      return LOADER_TYPE_FP32;
    case 'd':
      return LOADER_TYPE_FP64;
    default:
      return LOADER_TYPE_NONE;
  }
}

bool is_instance(PyObject* value, PyObject* type) {
  return type != nullptr && PyObject_TypeCheck(value, reinterpret_cast<PyTypeObject*>(type));
}

}  // namespace

void OutFrame::Return::operator()(OutFrame* frame) const noexcept {
  std::unique_ptr<OutFrame> owned(frame);
  owned->clear();
  if (store().size() < kStoredFrames) store().push_back(std::move(owned));
}

OutFrame::Lease OutFrame::lease() {
  if (store().empty()) return Lease(new OutFrame());
  OutFrame* const frame = store().back().release();
  store().pop_back();
  return Lease(frame);
}

void OutFrame::clear() noexcept {
  for (const auto& buffer : buffers_) PyBuffer_Release(buffer.get());
  buffers_.clear();
  held_.clear();
  items_.clear();
  shapes_.clear();
  attributes_.clear();
}

void OutFrame::assign(PyObject* value, int64_t position, const Outputs& outputs) {
  clear();
  const Library& library = Library::get();
  frame_ = {};
  frame_.struct_size = sizeof(frame_);
  frame_.item_size = sizeof(loader_item_t);
  frame_.position = position;
  if (PyDict_Check(value)) {
    add_dict(value, outputs);
  } else if (is_instance(value, library.result_type.ptr())) {
    const py::handle result(value);
    const py::object items = result.attr("items");
    const py::object covered = result.attr("position");
    if (!covered.is_none()) frame_.position = covered.cast<int64_t>();
    hold(items.ptr());
    PyDict_Check(items.ptr()) ? add_dict(items.ptr(), outputs) : add_pairs(items.ptr(), outputs);
  } else {
    add(outputs.default_key.ptr(), value, outputs);
  }
  frame_.item_count = static_cast<uint32_t>(items_.size());
  frame_.items = items_.data();
}

void OutFrame::add_dict(PyObject* dict, const Outputs& outputs) {
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  Py_ssize_t place = 0;
  while (PyDict_Next(dict, &place, &key, &value) != 0) {
    // `add` may run Python code that changes the dict: hold what it works on.
    const auto kept_key = py::reinterpret_borrow<py::object>(key);
    const auto kept_value = py::reinterpret_borrow<py::object>(value);
    add(key, value, outputs);
  }
}

void OutFrame::add_pairs(PyObject* pairs, const Outputs& outputs) {
  for (const py::handle pair : py::iter(pairs)) {
    const auto two = py::cast<py::tuple>(pair);
    if (two.size() != 2) throw py::type_error("the items of a Result are (key, value) pairs");
    const py::object key = two[0];
    const py::object value = two[1];
    add(key.ptr(), value.ptr(), outputs);
  }
}

void OutFrame::add(PyObject* key, PyObject* value, const Outputs& outputs) {
  loader_item_t item{};
  item.key = borrow_text(key, "the key of a result");
  uint32_t wanted = 0;
  if (!outputs.types.empty()) {
    const auto declared = outputs.types.find(std::string(item.key.data, item.key.size));
    if (declared != outputs.types.end()) wanted = declared->second;
  }
  fill(item, value, wanted);
  items_.push_back(item);
}

void OutFrame::fill(loader_item_t& item, PyObject* value, uint32_t wanted) {
  Library& library = Library::get();
  if (PyBytes_Check(value)) {
    hold(value);
    item.data.data = reinterpret_cast<const uint8_t*>(PyBytes_AS_STRING(value));
    item.data.size = static_cast<uint64_t>(PyBytes_GET_SIZE(value));
    item.type = wanted == 0 || wanted == LOADER_ITEM_TENSOR ? kBytes : wanted;
  } else if (PyUnicode_Check(value) && wanted != LOADER_ITEM_JSON) {
    fill_text(item, value, is_raw(wanted) && wanted != 0 ? wanted : kText);
  } else if (is_item(value)) {
    fill_view(item, value, wanted);
  } else if (PyMemoryView_Check(value) || PyByteArray_Check(value)) {
    fill_buffer(item, value, wanted);
  } else if (is_instance(value, library.item_type.ptr())) {
    fill_explicit(item, value, wanted);
  } else if (is_instance(value, library.array_type())) {
    fill_array(item, value, wanted);
  } else if (is_instance(value, library.scalar_type())) {
    fill_json(item, library.plain_value(py::handle(value)).ptr());
  } else if (PyObject_CheckBuffer(value)) {
    fill_buffer(item, value, wanted);
  } else {
    fill_json(item, value);
  }
}

void OutFrame::fill_text(loader_item_t& item, PyObject* text, uint32_t type) {
  const loader_string_t bytes = borrow_text(text, "a text");
  item.data.data = reinterpret_cast<const uint8_t*>(bytes.data);
  item.data.size = bytes.size;
  item.type = type;
}

void OutFrame::fill_explicit(loader_item_t& item, PyObject* value, uint32_t wanted) {
  const Library& library = Library::get();
  const py::handle given(value);
  const py::object type = given.attr("type");
  const py::object status = given.attr("status");
  const py::object attributes = given.attr("attributes");
  const py::object inner = given.attr("value");
  if (!type.is_none()) wanted = number_of(library.item_type_names, type, "item type");
  if (is_instance(inner.ptr(), library.item_type.ptr())) {
    throw py::type_error("the value of an Item is another Item");
  }
  fill(item, inner.ptr(), wanted);
  if (!type.is_none() && wanted != LOADER_ITEM_TENSOR) item.type = wanted;
  if (!status.is_none()) item.status = number_of(library.status_names, status, "item status");
  if (!attributes.is_none()) fill_attributes(item, py::dict(attributes));
}

// An input item sent on: its payload is the host's memory and not copied here.
void OutFrame::fill_view(loader_item_t& item, PyObject* view, uint32_t wanted) {
  const auto* const source = reinterpret_cast<const ItemObject*>(view);
  hold(view);
  item.data.data = source->data.data;
  item.data.size = source->data.size;
  item.type = wanted == 0 ? source->type : wanted;
  item.status = source->status;
  if (source->attributes != nullptr) {
    fill_attributes(item, py::reinterpret_borrow<py::dict>(source->attributes));
  }
  if (item.type != LOADER_ITEM_TENSOR || source->shape == nullptr) return;
  item.data_type = source->data_type;
  shapes_.emplace_back();
  for (const py::handle size : py::reinterpret_borrow<py::tuple>(source->shape)) {
    shapes_.back().push_back(size.cast<int64_t>());
  }
  item.shape = shapes_.back().data();
  item.dim_count = static_cast<uint32_t>(shapes_.back().size());
}

Py_buffer& OutFrame::open_buffer(PyObject* value, int flags) {
  auto buffer = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(value, buffer.get(), flags) != 0) throw py::error_already_set();
  buffers_.push_back(std::move(buffer));
  return *buffers_.back();
}

void OutFrame::fill_buffer(loader_item_t& item, PyObject* value, uint32_t wanted) {
  const Py_buffer& buffer = open_buffer(value, PyBUF_C_CONTIGUOUS);
  item.data.data = static_cast<const uint8_t*>(buffer.buf);
  item.data.size = static_cast<uint64_t>(buffer.len);
  item.type = wanted == 0 || wanted == LOADER_ITEM_TENSOR ? kBytes : wanted;
}

void OutFrame::fill_array(loader_item_t& item, PyObject* array, uint32_t wanted) {
  if (wanted == LOADER_ITEM_JSON) return fill_json(item, array);
  // A copy only where the array is not contiguous or not little-endian.
  const py::object plain = Library::get().plain_value(py::handle(array));
  const Py_buffer& buffer = open_buffer(plain.ptr(), PyBUF_C_CONTIGUOUS | PyBUF_FORMAT);
  item.data.data = static_cast<const uint8_t*>(buffer.buf);
  item.data.size = static_cast<uint64_t>(buffer.len);
  item.type = wanted == 0 ? kTensor : wanted;
  if (item.type != LOADER_ITEM_TENSOR) return;
  item.data_type = data_type_of(buffer);
  if (item.data_type == LOADER_TYPE_NONE) {
    throw py::type_error("an array of format '" + std::string(buffer.format) +
                         "' cannot be sent as a tensor; convert it to a numeric type");
  }
  shapes_.emplace_back(buffer.shape, buffer.shape + buffer.ndim);
  item.shape = shapes_.back().data();
  item.dim_count = static_cast<uint32_t>(buffer.ndim);
}

void OutFrame::fill_json(loader_item_t& item, PyObject* value) {
  const py::object text = Library::get().encode_json(py::handle(value));
  fill_text(item, text.ptr(), LOADER_ITEM_JSON);
}

void OutFrame::fill_attributes(loader_item_t& item, const py::dict& attributes) {
  attributes_.emplace_back();
  for (const auto& [key, value] : attributes) {
    attributes_.back().push_back({borrow_text(key.ptr(), "the key of an attribute"),
                                  borrow_text(value.ptr(), "the value of an attribute")});
  }
  item.attributes = attributes_.back().data();
  item.attribute_count = static_cast<uint32_t>(attributes_.back().size());
}

loader_string_t OutFrame::borrow_text(PyObject* text, const char* what) {
  if (!PyUnicode_Check(text)) {
    throw py::type_error(std::string(what) + " is a " + Py_TYPE(text)->tp_name + ", not a str");
  }
  Py_ssize_t size = 0;
  const char* const data = PyUnicode_AsUTF8AndSize(text, &size);
  if (data == nullptr) throw py::error_already_set();
  hold(text);
  return {data, static_cast<uint64_t>(size)};
}

}  // namespace loader::python
