// A wrapper whose author forgot extern "C".
struct loader_wrapper_table;

__attribute__((visibility("default"))) const loader_wrapper_table* loader_wrapper() {
  return nullptr;
}
