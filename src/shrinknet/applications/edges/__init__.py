"""Edge detection: a small convolutional network learns the edge maps of Canny or Sobel from photographs."""
