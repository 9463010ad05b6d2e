/* The two types of CUDA that TensorRT's headers name, for machines without CUDA's own headers: pointers that only the driver looks behind. */
#ifndef FLUMEWAY_CUDA_RUNTIME_API_H
#define FLUMEWAY_CUDA_RUNTIME_API_H

typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;

#endif
