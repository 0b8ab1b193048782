// The part of XLA's foreign function interface that a handler reads (xla/ffi/api/c_api.h, API
// version 0). Its layout is a binary contract: members are only ever added at the end.
//
// Declared here, as DLPack's is, so that nothing of JAX is needed to build a wheel; a test compiles
// this file beside the header of an installed JAX and compares every offset.
#pragma once

#include <cstddef>
#include <cstdint>

namespace regard::xla {

struct Extension {
  std::size_t struct_size;
  int type;
  Extension* next;
};
inline constexpr int kMetadataExtension = 1;

struct Version {
  std::size_t struct_size;
  Extension* extensions;
  int major_version, minor_version;
};

/// What a handler says of itself when it is registered.
struct Metadata {
  std::size_t struct_size;
  Version api_version;
  std::uint32_t traits;
};

struct MetadataExtension {
  Extension base;
  Metadata* metadata;
};

/// An operand or a result: C-contiguous.
struct Buffer {
  std::size_t struct_size;
  Extension* extensions;
  int dtype;
  void* data;
  std::int64_t rank;
  std::int64_t* dims;
};

struct Buffers {
  std::size_t struct_size;
  Extension* extensions;
  std::int64_t size;
  int* types;
  void** items;  // Buffer
};

struct Text {
  const char* data;
  std::size_t size;
};

struct Scalar {
  int dtype;
  void* value;
};

struct Numbers {
  int dtype;
  std::size_t size;
  void* data;
};

/// Kinds of attributes.
inline constexpr int kNumbers = 1;
inline constexpr int kScalar = 3;
inline constexpr int kText = 4;

struct Attributes {
  std::size_t struct_size;
  Extension* extensions;
  std::int64_t size;
  int* types;
  Text** names;
  void** items;  // Numbers, Scalar or Text
};

struct Error;

struct ErrorRequest {
  std::size_t struct_size;
  Extension* extensions;
  const char* message;
  int code;
};
inline constexpr int kInvalidArgument = 3;
inline constexpr int kResourceExhausted = 8;
inline constexpr int kInternal = 13;

struct Api {
  std::size_t struct_size;
  Extension* extensions;
  Version version;
  const void* internal;
  Error* (*create_error)(ErrorRequest*);
};

struct CallFrame {
  std::size_t struct_size;
  Extension* extensions;
  const Api* api;
  void* context;
  int stage;
  Buffers operands;
  Buffers results;
  Attributes attributes;
};

}  // namespace regard::xla
