#include "src/base/utf8.h"

size_t utf8_length(const uint8_t *text, size_t available)
{
    uint8_t first = text[0], low = 0x80, high = 0xBF; /* bounds of the second byte */
    size_t length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (length < 2) return length;
    if (length > available) return 0;
    if (first == 0xE0) low = 0xA0;  /* shorter forms exist */
    if (first == 0xED) high = 0x9F; /* surrogates */
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F; /* above U+10FFFF */
    if (text[1] < low || text[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xC0) != 0x80) return 0;
    return length;
}

size_t utf8_first_error(const uint8_t *text, size_t length)
{
    size_t place = 0;
    while (place < length) {
        size_t character = utf8_length(text + place, length - place);
        if (character == 0) break;
        place += character;
    }
    return place;
}

uint32_t utf8_decode(const uint8_t *text, size_t *length)
{
    uint8_t first = text[0];
    *length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    uint32_t character = *length == 1 ? first : first & (0x7Fu >> *length);
    for (size_t i = 1; i < *length; i++) character = character << 6 | (text[i] & 0x3F);
    return character;
}

size_t utf8_encode_short(uint32_t character, char text[2])
{
    if (character < 0x80) return text[0] = (char)character, 1;
    text[0] = (char)(0xC0 | character >> 6);
    text[1] = (char)(0x80 | (character & 0x3F));
    return 2;
}
