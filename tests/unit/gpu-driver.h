/*
 * A driver's requests of virtio-gpu, over the fake driver: `drv` and `dev` are its user's, GPU_DO() what sends a
 * request of @bytes and has the answer in @resp.
 */
#ifndef TESTS_GPU_DRIVER_H
#define TESTS_GPU_DRIVER_H

#include <endian.h>
#include <linux/virtio_gpu.h>
#include <string.h>

#define GPU_HDR(t) { .type = htole32(VIRTIO_GPU_CMD_##t) }
#define GPU_RECT(x, y, w, h) { htole32(x), htole32(y), htole32(w), htole32(h) }

enum { GPU_CONTROL, GPU_CURSOR };

/* The user's: send, and wait; Return: the answer's type, 0 if the device broke */
static uint32_t gpu_do(unsigned queue, const void *req, size_t bytes, void *resp, size_t resp_bytes);

static inline uint32_t gpu_simple(const void *req, size_t bytes)
{
	struct virtio_gpu_ctrl_hdr resp;

	return gpu_do(GPU_CONTROL, req, bytes, &resp, sizeof(resp));
}

static inline uint32_t gpu_make(uint32_t id, uint32_t format, uint32_t width, uint32_t height)
{
	const struct virtio_gpu_resource_create_2d req = { GPU_HDR(RESOURCE_CREATE_2D), htole32(id), htole32(format),
							   htole32(width), htole32(height) };

	return gpu_simple(&req, sizeof(req));
}

static inline uint32_t gpu_unref(uint32_t id)
{
	const struct virtio_gpu_resource_unref req = { GPU_HDR(RESOURCE_UNREF), htole32(id), 0 };

	return gpu_simple(&req, sizeof(req));
}

static inline uint32_t gpu_scanout_of(uint32_t output, uint32_t id, uint32_t x, uint32_t y, uint32_t w, uint32_t h)
{
	const struct virtio_gpu_set_scanout req = { GPU_HDR(SET_SCANOUT), GPU_RECT(x, y, w, h), htole32(output), htole32(id) };

	return gpu_simple(&req, sizeof(req));
}

static inline uint32_t gpu_flush_of(uint32_t id, uint32_t x, uint32_t y, uint32_t w, uint32_t h)
{
	const struct virtio_gpu_resource_flush req = { GPU_HDR(RESOURCE_FLUSH), GPU_RECT(x, y, w, h), htole32(id), 0 };

	return gpu_simple(&req, sizeof(req));
}

static inline uint32_t gpu_transfer_of(uint32_t id, uint32_t x, uint32_t y, uint32_t w, uint32_t h, uint64_t offset)
{
	const struct virtio_gpu_transfer_to_host_2d req = { GPU_HDR(TRANSFER_TO_HOST_2D), GPU_RECT(x, y, w, h),
							    htole64(offset), htole32(id), 0 };

	return gpu_simple(&req, sizeof(req));
}

static inline uint32_t gpu_detach_of(uint32_t id)
{
	const struct virtio_gpu_resource_detach_backing req = { GPU_HDR(RESOURCE_DETACH_BACKING), htole32(id), 0 };

	return gpu_simple(&req, sizeof(req));
}

/* @n up to 8; the request says @told of them */
static inline uint32_t gpu_attach_told(uint32_t id, const uint64_t (*entry)[2], uint32_t n, uint32_t told)
{
	struct {
		struct virtio_gpu_resource_attach_backing head;
		struct virtio_gpu_mem_entry entry[8];
	} req = { { GPU_HDR(RESOURCE_ATTACH_BACKING), htole32(id), htole32(told) }, { { 0 } } };

	for (uint32_t i = 0; i < n; i++)
		req.entry[i] = (struct virtio_gpu_mem_entry){ htole64(entry[i][0]), htole32((uint32_t)entry[i][1]), 0 };
	return gpu_simple(&req, sizeof(req.head) + n * sizeof(req.entry[0]));
}

/* Likewise, with one entry of @len bytes at @at; 0: with none */
static inline uint32_t gpu_make_blob(uint32_t id, uint32_t mem, uint64_t bytes, uint64_t at, uint64_t len)
{
	struct {
		struct virtio_gpu_resource_create_blob head;
		struct virtio_gpu_mem_entry entry;
	} req = { { GPU_HDR(RESOURCE_CREATE_BLOB), htole32(id), htole32(mem), 0, htole32(!!len), 0, htole64(bytes) },
		  { htole64(at), htole32((uint32_t)len), 0 } };

	return gpu_simple(&req, sizeof(req));
}

struct gpu_blob_scanout {
	uint32_t x, y, w, h, format, width, height, stride, offset;
};

static inline uint32_t gpu_scanout_blob(uint32_t output, uint32_t id, struct gpu_blob_scanout s)
{
	const struct virtio_gpu_set_scanout_blob req = {
		GPU_HDR(SET_SCANOUT_BLOB), GPU_RECT(s.x, s.y, s.w, s.h), htole32(output), htole32(id), htole32(s.width),
		htole32(s.height), htole32(s.format), 0, { htole32(s.stride) }, { htole32(s.offset) }
	};

	return gpu_simple(&req, sizeof(req));
}

static inline uint32_t gpu_attach_to(uint32_t id, const uint64_t (*entry)[2], uint32_t n)
{
	return gpu_attach_told(id, entry, n, n);
}

/* @wants: an answer is */
static inline uint32_t gpu_cursor_to(uint32_t type, uint32_t output, uint32_t id, uint32_t x, uint32_t y, uint32_t hot_x,
				     uint32_t hot_y)
{
	const struct virtio_gpu_update_cursor req = { { .type = htole32(type) },
						      { htole32(output), htole32(x), htole32(y), 0 },
						      htole32(id), htole32(hot_x), htole32(hot_y), 0 };
	struct virtio_gpu_ctrl_hdr resp;

	return gpu_do(GPU_CURSOR, &req, sizeof(req), &resp, sizeof(resp));
}

#endif
