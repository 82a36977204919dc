#include <stdexcept>

#include "hostile.h"

extern "C" void hostile_throw() {
  throw std::runtime_error("thrown by the hostile wrapper");
}
