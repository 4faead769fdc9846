// The selective scan and its gradients, for one instruction set. Channels are the lanes of the vectors:
//
//   delta = softplus(dt + dt_bias)
//   h_l = exp(delta_l A) h_{l-1} + delta_l x_l B_l
//   y_l = (C_l . h_l + D x_l) silu(z_l)
//
// Gu and Dao 2023 (Mamba), equations 2-4 with the discretisation used there, and Algorithm 2.
#pragma once

#include "scan_parts.h"

#include "scan_forward.h"

#include "scan_backward.h"
