# Finds what the build needs, or stops with the name of the Debian package that has it.
include(CheckSymbolExists)

# require_header(<target> <header> <library> <apt package>): an imported target for one library.
function(require_header target header library package)
  find_path(${target}_INCLUDE ${header})
  find_library(${target}_LIBRARY ${library})
  if(NOT ${target}_INCLUDE OR NOT ${target}_LIBRARY)
    message(FATAL_ERROR "${header} or lib${library} not found: run `apt-get install ${package}`")
  endif()
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} SYSTEM INTERFACE ${${target}_INCLUDE})
  target_link_libraries(${target} INTERFACE ${${target}_LIBRARY})
endfunction()

# require_symbol(<target> <header> <symbol> <cure>): distributions backport fixes without a new
# version number, so the function that a fix brought is what tells that it is there.
function(require_symbol target header symbol cure)
  set(CMAKE_REQUIRED_INCLUDES ${${target}_INCLUDE})
  set(CMAKE_REQUIRED_LIBRARIES ${${target}_LIBRARY})
  set(CMAKE_REQUIRED_QUIET ON)
  check_symbol_exists(${symbol} ${header} ${target}_HAS_${symbol})
  if(NOT ${target}_HAS_${symbol})
    unset(${target}_HAS_${symbol} CACHE)  # look again once it is cured
    message(FATAL_ERROR "${${target}_LIBRARY} has no ${symbol}: ${cure}")
  endif()
endfunction()

# require_package(<cmake package> <apt package>): find_package with a cure.
macro(require_package name package)
  find_package(${name} QUIET)
  if(NOT ${name}_FOUND)
    message(FATAL_ERROR "${name} not found: run `apt-get install ${package}`")
  endif()
endmacro()
