// Item and Frame as CPython types: they are made for each message, so they are written against the
// C API (two allocations a frame of one item) and not as pybind11 classes.
#include "python/frame_object.h"

#include <cstring>

#include "python/library.h"

namespace loader::python {

namespace {

constexpr std::size_t kPayloadOffset = (sizeof(ItemObject) + 15) / 16 * 16;

PyTypeObject* item_type_object = nullptr;
PyTypeObject* frame_type_object = nullptr;

ItemObject* as_item(PyObject* self) {
  return reinterpret_cast<ItemObject*>(self);
}
FrameObject* as_frame(PyObject* self) {
  return reinterpret_cast<FrameObject*>(self);
}

std::string_view view(const loader_string_t& text) {
  return {text.data == nullptr ? "" : text.data, text.size};
}

// ---- making ------------------------------------------------------------------------------------

PyObject* make_shape(const loader_item_t& source) {
  PyObject* const shape = PyTuple_New(source.dim_count);
  for (uint32_t i = 0; shape != nullptr && i < source.dim_count; ++i) {
    PyTuple_SET_ITEM(shape, i, PyLong_FromLongLong(source.shape[i]));
  }
  return shape;
}

PyObject* make_attributes(const loader_item_t& source) {
  PyObject* const attributes = PyDict_New();
  for (uint32_t i = 0; attributes != nullptr && i < source.attribute_count; ++i) {
    PyObject* const key = Library::get().intern(view(source.attributes[i].key));
    const std::string_view text = view(source.attributes[i].value);
    PyObject* const value =
        PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "surrogateescape");
    if (key == nullptr || value == nullptr || PyDict_SetItem(attributes, key, value) != 0) {
      Py_XDECREF(key), Py_XDECREF(value), Py_DECREF(attributes);
      return nullptr;
    }
    Py_DECREF(key), Py_DECREF(value);
  }
  return attributes;
}

// Takes the source's buffer, or copies the payload behind the object.
void take_payload(ItemObject* item, loader_item_t& source) {
  item->data = source.data;
  if (source.data.release != nullptr) {
    source.data.release = nullptr;
    return;
  }
  uint8_t* const copy = reinterpret_cast<uint8_t*>(item) + kPayloadOffset;
  if (source.data.size != 0) std::memcpy(copy, source.data.data, source.data.size);
  item->data.data = copy;
  item->data.private_data = nullptr;
}

PyObject* make_item(loader_item_t& source) {
  const std::size_t inside = source.data.release != nullptr ? 0 : source.data.size;
  ItemObject* const item =
      PyObject_NewVar(ItemObject, item_type_object, static_cast<Py_ssize_t>(inside));
  if (item == nullptr) return nullptr;
  item->type = source.type == 0 ? static_cast<uint32_t>(LOADER_ITEM_BYTES) : source.type;
  item->status = source.status;
  item->data_type = source.data_type;
  item->shape = nullptr;
  item->attributes = nullptr;
  take_payload(item, source);
  item->key = Library::get().intern(view(source.key));
  bool is_good = item->key != nullptr;
  if (is_good && source.type == LOADER_ITEM_TENSOR) {
    item->shape = make_shape(source);
    is_good = item->shape != nullptr;
  }
  if (is_good && source.attribute_count != 0) {
    item->attributes = make_attributes(source);
    is_good = item->attributes != nullptr;
  }
  if (!is_good) Py_DECREF(item);
  return is_good ? reinterpret_cast<PyObject*>(item) : nullptr;
}

void item_dealloc(PyObject* self) {
  ItemObject* const item = as_item(self);
  if (item->data.release != nullptr) item->data.release(&item->data);
  Py_XDECREF(item->key);
  Py_XDECREF(item->shape);
  Py_XDECREF(item->attributes);
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_Free(self);
  Py_DECREF(type);
}

void frame_dealloc(PyObject* self) {
  Py_XDECREF(as_frame(self)->items);
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_Free(self);
  Py_DECREF(type);
}

// ---- reading an item ---------------------------------------------------------------------------

int item_buffer(PyObject* self, Py_buffer* view, int flags) {
  const loader_buffer_t& data = as_item(self)->data;
  return PyBuffer_FillInfo(view, self, const_cast<uint8_t*>(data.data),
                           static_cast<Py_ssize_t>(data.size), 1, flags);
}

PyObject* item_text(const ItemObject* item) {
  return PyUnicode_DecodeUTF8(reinterpret_cast<const char*>(item->data.data),
                              static_cast<Py_ssize_t>(item->data.size), nullptr);
}

PyObject* item_value(PyObject* self, void*) {
  const ItemObject* const item = as_item(self);
  switch (item->type) {
    case LOADER_ITEM_TEXT:
      return item_text(item);
    case LOADER_ITEM_JSON: {
      PyObject* const text = item_text(item);
      if (text == nullptr) return nullptr;
      PyObject* const value = PyObject_CallOneArg(Library::get().decode_json.ptr(), text);
      Py_DECREF(text);
      return value;
    }
    case LOADER_ITEM_TENSOR:
      return PyObject_CallOneArg(Library::get().tensor_value.ptr(), self);
    default:
      return PyMemoryView_FromObject(self);
  }
}

PyObject* item_data(PyObject* self, void*) {
  return PyMemoryView_FromObject(self);
}

PyObject* item_key(PyObject* self, void*) {
  return Py_NewRef(as_item(self)->key);
}

template <std::size_t N>
PyObject* name_at(const std::array<py::str, N>& names, uint32_t number) {
  return Py_NewRef(names[number < N ? number : 0].ptr());
}

PyObject* item_type(PyObject* self, void*) {
  return name_at(Library::get().item_type_names, as_item(self)->type);
}

PyObject* item_status(PyObject* self, void*) {
  return name_at(Library::get().status_names, as_item(self)->status);
}

PyObject* item_data_type(PyObject* self, void*) {
  return name_at(Library::get().data_type_names, as_item(self)->data_type);
}

PyObject* item_shape(PyObject* self, void*) {
  PyObject* const shape = as_item(self)->shape;
  return shape != nullptr ? Py_NewRef(shape) : PyTuple_New(0);
}

PyObject* item_attributes(PyObject* self, void*) {
  PyObject* const attributes = as_item(self)->attributes;
  return attributes != nullptr ? PyDict_Copy(attributes) : PyDict_New();
}

PyObject* item_numpy(PyObject* self, PyObject* arguments) {
  PyObject* dtype = Py_None;
  if (!PyArg_ParseTuple(arguments, "|O:numpy", &dtype)) return nullptr;
  return PyObject_CallFunctionObjArgs(Library::get().typed_value.ptr(), self, dtype, nullptr);
}

PyObject* item_bytes(PyObject* self, PyObject*) {
  const loader_buffer_t& data = as_item(self)->data;
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(data.data),
                                   static_cast<Py_ssize_t>(data.size));
}

Py_ssize_t item_length(PyObject* self) {
  return static_cast<Py_ssize_t>(as_item(self)->data.size);
}

PyObject* item_repr(PyObject* self) {
  const ItemObject* const item = as_item(self);
  const char* const type = PyUnicode_AsUTF8(Library::get().item_type_names[item->type % 8].ptr());
  return PyUnicode_FromFormat("<Item %R %s, %zd bytes>", item->key, type,
                              static_cast<Py_ssize_t>(item->data.size));
}

PyGetSetDef item_properties[] = {{"key", item_key, nullptr, nullptr, nullptr},
                                 {"type", item_type, nullptr, nullptr, nullptr},
                                 {"status", item_status, nullptr, nullptr, nullptr},
                                 {"data_type", item_data_type, nullptr, nullptr, nullptr},
                                 {"shape", item_shape, nullptr, nullptr, nullptr},
                                 {"attributes", item_attributes, nullptr, nullptr, nullptr},
                                 {"value", item_value, nullptr, nullptr, nullptr},
                                 {"data", item_data, nullptr, nullptr, nullptr},
                                 {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef item_methods[] = {{"numpy", item_numpy, METH_VARARGS, nullptr},
                              {"__bytes__", item_bytes, METH_NOARGS, nullptr},
                              {nullptr, nullptr, 0, nullptr}};

// ---- reading a frame ---------------------------------------------------------------------------

// Borrowed; null without an exception where no item has that key.
PyObject* find(PyObject* frame, PyObject* key) {
  PyObject* const items = as_frame(frame)->items;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items); ++i) {
    PyObject* const item = PyTuple_GET_ITEM(items, i);
    PyObject* const name = as_item(item)->key;
    if (name == key) return item;
    if (PyUnicode_Check(key) && PyUnicode_Compare(name, key) == 0) return item;
  }
  return nullptr;
}

PyObject* frame_items(PyObject* self, void*) {
  return Py_NewRef(as_frame(self)->items);
}
PyObject* frame_seq(PyObject* self, void*) {
  return PyLong_FromUnsignedLongLong(as_frame(self)->seq);
}

PyObject* get_method(PyObject* self, PyObject* arguments) {
  PyObject* key = nullptr;
  PyObject* fallback = Py_None;
  if (!PyArg_ParseTuple(arguments, "O|O:get", &key, &fallback)) return nullptr;
  return frame_get(self, key, fallback);
}

PyObject* keys_method(PyObject* self, PyObject*) {
  return frame_keys(self);
}

PyObject* frame_iterator(PyObject* self) {
  PyObject* const keys = frame_keys(self);
  if (keys == nullptr) return nullptr;
  PyObject* const iterator = PyObject_GetIter(keys);
  Py_DECREF(keys);
  return iterator;
}

Py_ssize_t frame_length(PyObject* self) {
  return PyTuple_GET_SIZE(as_frame(self)->items);
}

PyObject* frame_repr(PyObject* self) {
  return PyUnicode_FromFormat("<Frame seq=%llu %R>",
                              static_cast<unsigned long long>(as_frame(self)->seq),
                              as_frame(self)->items);
}

PyGetSetDef frame_properties[] = {{"items", frame_items, nullptr, nullptr, nullptr},
                                  {"seq", frame_seq, nullptr, nullptr, nullptr},
                                  {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef frame_methods[] = {{"item", frame_item, METH_O, nullptr},
                               {"get", get_method, METH_VARARGS, nullptr},
                               {"keys", keys_method, METH_NOARGS, nullptr},
                               {nullptr, nullptr, 0, nullptr}};

template <typename F>
void* slot(F function) {
  return reinterpret_cast<void*>(function);
}

PyTypeObject* make_item_type() {
  PyType_Slot slots[] = {{Py_tp_dealloc, slot(item_dealloc)},
                         {Py_tp_getset, item_properties},
                         {Py_tp_methods, item_methods},
                         {Py_tp_repr, slot(item_repr)},
                         {Py_bf_getbuffer, slot(item_buffer)},
                         {Py_sq_length, slot(item_length)},
                         {0, nullptr}};
  PyType_Spec spec = {"loader._host.Item", static_cast<int>(kPayloadOffset), 1,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  return reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
}

PyTypeObject* make_frame_type() {
  PyType_Slot slots[] = {{Py_tp_dealloc, slot(frame_dealloc)},
                         {Py_tp_getset, frame_properties},
                         {Py_tp_methods, frame_methods},
                         {Py_tp_repr, slot(frame_repr)},
                         {Py_tp_iter, slot(frame_iterator)},
                         {Py_mp_subscript, slot(frame_value)},
                         {Py_mp_length, slot(frame_length)},
                         {Py_sq_contains, slot(frame_contains)},
                         {0, nullptr}};
  PyType_Spec spec = {"loader._host.Frame", static_cast<int>(sizeof(FrameObject)), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  return reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
}

}  // namespace

void add_frame_types(py::module_& module) {
  item_type_object = make_item_type();
  frame_type_object = make_frame_type();
  if (item_type_object == nullptr || frame_type_object == nullptr) throw py::error_already_set();
  module.attr("Item") = py::handle(reinterpret_cast<PyObject*>(item_type_object));
  module.attr("Frame") = py::handle(reinterpret_cast<PyObject*>(frame_type_object));
}

PyObject* make_frame(loader_frame_t& frame) {
  PyObject* const items = PyTuple_New(frame.item_count);
  if (items == nullptr) return nullptr;
  char* source = reinterpret_cast<char*>(frame.items);
  for (uint32_t i = 0; i < frame.item_count; ++i, source += frame.item_size) {
    PyObject* const item = make_item(*reinterpret_cast<loader_item_t*>(source));
    if (item == nullptr) {
      Py_DECREF(items);
      return nullptr;
    }
    PyTuple_SET_ITEM(items, i, item);
  }
  FrameObject* const made = PyObject_New(FrameObject, frame_type_object);
  if (made == nullptr) {
    Py_DECREF(items);
    return nullptr;
  }
  made->items = items;
  made->seq = frame.seq;
  return reinterpret_cast<PyObject*>(made);
}

bool is_item(PyObject* object) {
  return Py_TYPE(object) == item_type_object;
}

PyObject* frame_value(PyObject* frame, PyObject* key) {
  PyObject* const item = find(frame, key);
  if (item != nullptr) return item_value(item, nullptr);
  PyErr_SetObject(PyExc_KeyError, key);
  return nullptr;
}

PyObject* frame_item(PyObject* frame, PyObject* key) {
  PyObject* const item = find(frame, key);
  if (item != nullptr) return Py_NewRef(item);
  PyErr_SetObject(PyExc_KeyError, key);
  return nullptr;
}

PyObject* frame_get(PyObject* frame, PyObject* key, PyObject* fallback) {
  PyObject* const item = find(frame, key);
  return item != nullptr ? item_value(item, nullptr) : Py_NewRef(fallback);
}

PyObject* frame_keys(PyObject* frame) {
  PyObject* const items = as_frame(frame)->items;
  PyObject* const keys = PyTuple_New(PyTuple_GET_SIZE(items));
  for (Py_ssize_t i = 0; keys != nullptr && i < PyTuple_GET_SIZE(items); ++i) {
    PyTuple_SET_ITEM(keys, i, Py_NewRef(as_item(PyTuple_GET_ITEM(items, i))->key));
  }
  return keys;
}

int frame_contains(PyObject* frame, PyObject* key) {
  return find(frame, key) != nullptr ? 1 : 0;
}

}  // namespace loader::python
