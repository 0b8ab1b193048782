// What XLA calls: no Python, and no GIL.
#pragma once

#include "xla/ffi_abi.hpp"

namespace regard::xla {

/// Writes `out` and `lse`.
Error* attention(CallFrame* frame);

/// Reads `out`, `lse`, `dout` and maybe `dlse` among the operands, and writes the gradients that
/// the results name, of the shapes in regard::Gradients; those that are float64 there may be
/// float32.
Error* backward(CallFrame* frame);

/// Reads `dquery`, `dkey` and `dvalue`, those that move, and writes `out`, `lse`, `dout`, `dlse`.
Error* tangent(CallFrame* frame);

/// The version of the interface that handlers say they follow when they are registered. All of
/// major version 0 have what ffi_abi.hpp declares.
void follow_version(int major_version, int minor_version);

}  // namespace regard::xla
