// SPDX-License-Identifier: GPL-2.0
/*
 * Merged contents of a domain, by sample and by digest: the stable side.
 *
 * Before a page is read whole, its sample is looked up in a table of the
 * samples that merged contents have. Sample and digest together find a content:
 * a sample has one content, unless pages were made to collide. A content has
 * one frame for every max_page_sharing mappings. Frames with room for more come
 * first, so a lookup costs the same for any number of copies.
 *
 * Context: ksm_domain.mutex.
 */
#include <linux/slab.h>

#include "ksm.h"

const struct rhashtable_params ksm_sample_params = {
	.key_len = sizeof_field(struct ksm_sample, value),
	.key_offset = offsetof(struct ksm_sample, value),
	.head_offset = offsetof(struct ksm_sample, node),
	.automatic_shrinking = true,
};

/* Frames that one sort visits. */
#define KSM_SORT_FRAMES	256

/* Contents with more than one frame, and the number of their frames. */
atomic_long_t ksm_nr_chains, ksm_nr_dups;

/**
 * ksm_sample_known - does any merged content have this sample?
 * @domain: where
 * @sample: the sample
 *
 * Context: domain->mutex, else the answer may be stale.
 * Return: true if so.
 */
bool ksm_sample_known(struct ksm_domain *domain, u32 sample)
{
	return rhashtable_lookup_fast(&domain->samples, &sample,
				      ksm_sample_params);
}

static int ksm_content_cmp(const void *key, const struct rb_node *rb)
{
	const u64 *a = key;
	const u64 *b = &rb_entry(rb, struct ksm_content, node)->digest;

	return (*a > *b) - (*a < *b);
}

static bool ksm_content_less(struct rb_node *a, const struct rb_node *b)
{
	return ksm_content_cmp(&rb_entry(a, struct ksm_content, node)->digest,
			       b) < 0;
}

static struct ksm_content *ksm_sample_content(struct ksm_sample *sample,
					      u64 digest)
{
	struct rb_node *found;

	found = rb_find(&digest, &sample->contents, ksm_content_cmp);
	return rb_entry_safe(found, struct ksm_content, node);
}

/**
 * ksm_content_find - the content with a digest
 * @domain: where
 * @sample: its sample
 * @digest: the digest
 *
 * Context: domain->mutex.
 * Return: the content, which has a frame; NULL if there is none.
 */
struct ksm_content *ksm_content_find(struct ksm_domain *domain, u32 sample,
				     u64 digest)
{
	struct ksm_sample *found;

	found = rhashtable_lookup_fast(&domain->samples, &sample,
				       ksm_sample_params);
	return found ? ksm_sample_content(found, digest) : NULL;
}

static struct ksm_sample *ksm_sample_make(struct ksm_domain *domain, u32 value)
{
	struct ksm_sample *sample = kzalloc(sizeof(*sample), KSM_GFP_MERGE);

	if (!sample)
		return NULL;
	sample->value = value;
	if (!rhashtable_insert_fast(&domain->samples, &sample->node,
				    ksm_sample_params))
		return sample;
	kfree(sample);
	return NULL;
}

/* Free a sample that has no contents. */
static void ksm_sample_settle(struct ksm_domain *domain,
			      struct ksm_sample *sample)
{
	if (!RB_EMPTY_ROOT(&sample->contents))
		return;
	rhashtable_remove_fast(&domain->samples, &sample->node,
			       ksm_sample_params);
	kfree_rcu(sample, rcu);
}

static struct ksm_content *ksm_content_get(struct ksm_domain *domain,
					   u32 value, u64 digest)
{
	struct ksm_content *content;
	struct ksm_sample *sample;

	sample = rhashtable_lookup_fast(&domain->samples, &value,
					ksm_sample_params);
	if (!sample)
		sample = ksm_sample_make(domain, value);
	if (!sample)
		return NULL;
	content = ksm_sample_content(sample, digest);
	if (content)
		return content;
	content = kzalloc(sizeof(*content), KSM_GFP_MERGE);
	if (!content) {
		ksm_sample_settle(domain, sample);
		return NULL;
	}
	content->digest = digest;
	content->sample = sample;
	INIT_LIST_HEAD(&content->frames);
	rb_add(&content->node, &sample->contents, ksm_content_less);
	return content;
}

/**
 * ksm_content_add - a frame with this content may be merged into
 * @frame: the frame
 * @sample: its sample
 * @digest: its digest
 *
 * Context: frame->domain->mutex.
 * Return: 0 or -ENOMEM.
 */
int ksm_content_add(struct ksm_frame *frame, u32 sample, u64 digest)
{
	struct ksm_content *content;

	content = ksm_content_get(frame->domain, sample, digest);
	if (!content)
		return -ENOMEM;
	frame->content = content;
	list_add(&frame->content_link, &content->frames);
	if (++content->nr == 2) {
		atomic_long_inc(&ksm_nr_chains);
		atomic_long_add(2, &ksm_nr_dups);
	} else if (content->nr > 2) {
		atomic_long_inc(&ksm_nr_dups);
	}
	return 0;
}

/**
 * ksm_content_del - nothing more may be merged into a frame
 * @frame: the frame; it may have left its content before
 *
 * Context: frame->domain->mutex.
 */
void ksm_content_del(struct ksm_frame *frame)
{
	struct ksm_content *content = frame->content;

	if (!content)
		return;
	frame->content = NULL;
	list_del_init(&frame->content_link);
	if (--content->nr == 1) {
		atomic_long_dec(&ksm_nr_chains);
		atomic_long_sub(2, &ksm_nr_dups);
	} else if (content->nr > 1) {
		atomic_long_dec(&ksm_nr_dups);
	}
	if (content->nr)
		return;
	rb_erase(&content->node, &content->sample->contents);
	ksm_sample_settle(frame->domain, content->sample);
	kfree(content);
}

/**
 * ksm_content_sort - move frames with room for more mappings to the front
 * @content: the content
 *
 * Sorts at most once in prune_ms, and visits a bounded number of frames; the
 * next sort continues with the others.
 *
 * Context: the domain's mutex.
 * Return: the number of frames that were visited.
 */
unsigned int ksm_content_sort(struct ksm_content *content)
{
	unsigned int max = READ_ONCE(ksm_knobs.max_page_sharing);
	unsigned int nr = min(content->nr, KSM_SORT_FRAMES), visited = 0;
	struct ksm_frame *frame, *next;

	if (time_before(jiffies, content->sorted +
			msecs_to_jiffies(READ_ONCE(ksm_knobs.prune_ms))))
		return 0;
	content->sorted = jiffies;
	list_for_each_entry_safe(frame, next, &content->frames, content_link) {
		if (visited++ == nr)
			return nr;
		if (atomic_read(&frame->mapped) < max)
			list_move(&frame->content_link, &content->frames);
		else
			list_move_tail(&frame->content_link, &content->frames);
	}
	return visited;
}
