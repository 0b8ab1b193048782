// Which instruction sets this build has, this CPU supports, and calls use.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "regard/array.hpp"

namespace regard {

/// Names of the instruction sets compiled in, best first.
std::span<const std::string_view> compiled_isas();

/// Those of them that this CPU and its operating system support, best first; never empty.
std::span<const std::string_view> available_isas();

/// The one that calls use: the first available, unless the environment variable REGARD_ISA or
/// set_isa says otherwise.
/// @throws ValueError the first time, when REGARD_ISA names one that is not available.
std::string_view active_isa();

/// Makes later calls, from any thread, use `name`.
/// @throws ValueError when it is not available; the message lists those that are.
void set_isa(std::string_view name);

/// Floating-point operations a second that register-only FMAs reach on `threads` threads, measured
/// for about 20 ms: the ceiling that kernels are held against. That of bfloat16 is of dot products
/// where the ISA has them, and float32's where it is widened.
/// @throws ValueError for an ISA that is not available, another type or threads < 1.
double fma_ceiling(std::string_view isa, DType dtype, int threads);

/// Bytes a second at which so many bytes are read, again and again, by so many threads; the best of
/// some rounds.
/// @throws ValueError for less than 1 thread, or 1 KiB for each.
double read_bandwidth(std::int64_t bytes, int threads);

}  // namespace regard
