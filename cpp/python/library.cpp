// The borrowed Python objects; see library.h.
#include "python/library.h"

#include <functional>

namespace loader::python {

namespace {

constexpr std::array<const char*, kItemTypeCount> kItemTypes = {
    "", "bytes", "text", "json", "audio", "image", "video", "tensor"};
constexpr std::array<const char*, kStatusCount> kStatuses = {"", "begin", "continue", "end",
                                                             "once"};
constexpr std::array<const char*, kDataTypeCount> kDataTypes = {
    "",      "bool",  "uint8", "uint16", "uint32", "uint64", "int8",
    "int16", "int32", "int64", "fp16",   "fp32",   "fp64",   "bf16"};

template <std::size_t N>
void fill(std::array<py::str, N>& names, const std::array<const char*, N>& texts) {
  for (std::size_t i = 0; i < N; ++i) names[i] = py::str(texts[i]);
}

}  // namespace

Library& Library::get() {
  static Library* const library = new Library();
  return *library;
}

Library::Library() {
  const py::module_ wrapper = py::module_::import("loader.wrapper");
  pending = wrapper.attr("PENDING");
  item_type = wrapper.attr("Item");
  result_type = wrapper.attr("Result");
  reasons = py::list(wrapper.attr("CloseReason"));
  const py::module_ values = py::module_::import("loader.host.values");
  encode_json = values.attr("encode_json");
  decode_json = values.attr("decode_json");
  tensor_value = values.attr("tensor_value");
  typed_value = values.attr("typed_value");
  plain_value = values.attr("plain_value");
  emit_async = values.attr("emit_async");
  fill(item_type_names, kItemTypes);
  fill(status_names, kStatuses);
  fill(data_type_names, kDataTypes);
}

PyObject* Library::intern(std::string_view text) {
  Interned& entry = interned_[std::hash<std::string_view>{}(text) % interned_.size()];
  if (entry.object == nullptr || entry.text != text) {
    PyObject* const made =
        PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr);
    if (made == nullptr) return nullptr;
    Py_XSETREF(entry.object, made);
    entry.text.assign(text);
  }
  Py_INCREF(entry.object);
  return entry.object;
}

bool Library::find_numpy() {
  if (array_type_ != nullptr) return true;
  PyObject* const modules = PyImport_GetModuleDict();
  PyObject* const numpy = PyDict_GetItemString(modules, "numpy");
  if (numpy == nullptr) return false;
  array_type_ = PyObject_GetAttrString(numpy, "ndarray");
  scalar_type_ = PyObject_GetAttrString(numpy, "generic");
  if (scalar_type_ == nullptr) Py_CLEAR(array_type_);
  PyErr_Clear();  // NumPy is being imported by another thread right now
  return array_type_ != nullptr;
}

PyObject* Library::array_type() {
  return find_numpy() ? array_type_ : nullptr;
}

PyObject* Library::scalar_type() {
  return find_numpy() ? scalar_type_ : nullptr;
}

py::object Library::reason(int32_t number) const {
  const auto count = static_cast<int32_t>(py::len(reasons));
  return reasons[py::int_(number >= 0 && number < count ? number : 0)];
}

}  // namespace loader::python
